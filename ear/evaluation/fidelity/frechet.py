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

        Raises ``ValueError`` without rows.
        """
        return cls.merged(cls._of_rows(batch) for batch in batches if len(batch))

    @classmethod
    def merged(cls, parts: Iterable["Moments"]) -> "Moments":
        """The moments of the rows of all ``parts``. Raises ``ValueError`` if there are none.

        They are merged as in T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating Formulae and a Pairwise Algorithm for
        Computing Sample Variances" (1979), which loses no digits where the mean is large.
        """
        merged: Moments | None = None
        for part in parts:
            if merged is None:
                merged = cls(part.n, part.mean.copy(), part.scatter.copy())
            else:
                merged._merge(part)
        if merged is None:
            raise ValueError("no features")
        return merged

    @classmethod
    def _of_rows(cls, rows: Floats) -> "Moments":
        mean = rows.mean(axis=0)
        deviations = rows - mean
        return cls(len(rows), mean, deviations.T @ deviations)

    def _merge(self, part: "Moments") -> None:
        total, shift = self.n + part.n, part.mean - self.mean
        self.scatter += part.scatter
        self.scatter += np.outer(shift, shift * (self.n * part.n / total))
        self.mean += shift * (part.n / total)
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
