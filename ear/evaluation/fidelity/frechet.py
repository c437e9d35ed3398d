"""The Fréchet distance of two Gaussians with the moments of two sets of features: FID, if the features are Inception's.

M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium" (2017),
https://arxiv.org/abs/1706.08500, equation 6.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass
class Moments:
    """Count, mean and covariance of features of D dimensions, in float64."""

    n: int
    mean: Floats
    """[D]."""
    scatter: Floats
    """[D, D]: the sum of outer products of the deviations from the mean."""

    @classmethod
    def of(cls, batches: Iterable[Floats]) -> "Moments":
        """The moments of all rows of ``batches``, float64 [N, D] each, which are read once.

        Batches are merged as in T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating Formulae and a Pairwise Algorithm
        for Computing Sample Variances" (1979), which loses no digits where the mean is large. Raises ``ValueError``
        without rows.
        """
        moments: Moments | None = None
        for batch in batches:
            if not len(batch):
                continue
            mean = batch.mean(axis=0)
            deviations = batch - mean
            if moments is None:
                moments = cls(len(batch), mean, deviations.T @ deviations)
            else:
                moments._merge(len(batch), mean, deviations)
        if moments is None:
            raise ValueError("no features")
        return moments

    def _merge(self, n: int, mean: Floats, deviations: Floats) -> None:
        total, shift = self.n + n, mean - self.mean
        self.scatter += deviations.T @ deviations
        self.scatter += np.outer(shift, shift * (self.n * n / total))
        self.mean += shift * (n / total)
        self.n = total

    @property
    def covariance(self) -> Floats:
        """[D, D], with the denominator n - 1. Raises ``ValueError`` for fewer than two rows."""
        if self.n < 2:
            raise ValueError("a covariance needs at least two rows")
        return self.scatter / (self.n - 1)

    @cached_property
    def root(self) -> Floats:
        """The symmetric root of the covariance, [D, D]: the slowest part of a distance, kept for further distances."""
        values, vectors = scipy.linalg.eigh(self.covariance)
        root: Floats = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
        return root


def frechet_distance(first: Moments, second: Moments) -> float:
    """Squared distance |m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½), at least 0. The same in both orders.

    The trace of the root is the sum of the roots of the eigenvalues of S1^½ S2 S1^½. As this is symmetric, they are
    real even for a singular covariance, of fewer images than dimensions.
    """
    s1, s2 = first.covariance, second.covariance
    product = first.root @ s2 @ first.root
    eigenvalues = scipy.linalg.eigvalsh((product + product.T) / 2)
    shift = first.mean - second.mean
    distance = shift @ shift + np.trace(s1) + np.trace(s2) - 2 * np.sqrt(eigenvalues.clip(min=0)).sum()
    return max(0.0, float(distance))
