"""FID and KID of feature sets, before and after, and the spread from which their 95% intervals come."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from ear.evaluation.fidelity.features import FeatureSet, Floats
from ear.evaluation.fidelity.frechet import Moments, frechet_distance
from ear.evaluation.fidelity.kernel import kernel_distance, subset_size
from ecgvf.core.figures import LEVEL, Figure

JACKKNIFE_GROUPS = 10
"""Groups of the jackknife, and of CLIP scores: image i is in group i modulo ``JACKKNIFE_GROUPS``."""
SHARDS_AT_ONCE = 64
"""Shards of features in memory at once: to add a covariance costs as much for one image as for hundreds."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A distance of ``n`` images from their reference, and the values whose spread gives its interval."""

    value: float
    replicates: tuple[float, ...]
    """At least two values whose mean estimates the figure; for a jackknife, its pseudo-values."""
    n: int
    least: float = -math.inf
    """Lower bound of the figure, at which the interval is cut off."""

    def figure(self) -> Figure:
        """The value, with a 95% interval by Student's t from the spread of the replicates."""
        from scipy.stats import t

        count = len(self.replicates)
        error = float(np.std(self.replicates, ddof=1)) / math.sqrt(count)
        reach = float(t.ppf((1 + LEVEL) / 2, count - 1)) * error
        return Figure(self.value, self.n, max(self.least, self.value - reach), self.value + reach)

    def difference(self, other: "Estimate") -> Figure:
        """``other`` minus this, paired: replicate k of both comes from the same captions and pictures."""
        pairs = zip(self.replicates, other.replicates, strict=True)
        return Estimate(other.value - self.value, tuple(new - old for old, new in pairs), self.n).figure()


def frechet(
    before: FeatureSet, after: FeatureSet, reference: FeatureSet, advance: Callable[[], object] = lambda: None
) -> tuple[Estimate, Estimate]:
    """FID of ``before`` and of ``after`` to ``reference``, at least 0 each.

    Replicates are those of a delete-a-group jackknife: each leaves out a tenth of each set, the same captions in all
    three; with ``--as-published`` pictures have an order of their own, so that any tenth of them is left out. Their
    spread says how far FID varies between samples of this size, not how far it lies above its limit:
    compare FIDs of equal n only. ``advance`` is called ``JACKKNIFE_GROUPS`` + 1 times.
    """
    groups = [_group_moments(each) for each in (before, after, reference)]
    distances = []
    for left_out in (None, *range(JACKKNIFE_GROUPS)):
        old_images, new_images, pictures = (
            Moments.merged(moments for group, moments in enumerate(each) if group != left_out) for each in groups
        )
        distances.append((frechet_distance(pictures, old_images), frechet_distance(pictures, new_images)))
        advance()
    old, new = (np.array(values) for values in zip(*distances, strict=True))
    return _jackknife(old, before.n), _jackknife(new, after.n)


def kernel(before: FeatureSet, after: FeatureSet, reference: FeatureSet) -> tuple[Estimate, Estimate]:
    """KID of ``before`` and of ``after`` to ``reference``: means over disjoint subsets, which are the replicates.

    Subset k of one set is compared with subset k + 1 of the reference, so that no image meets the picture of its own
    caption, and the estimate stays unbiased.
    """
    size = subset_size(min(before.n, reference.n))
    pictures_of = reference.subsets(size)
    first = next(pictures_of)
    old, new = [], []
    # The last subset meets the reference's first, unless the reference has more subsets.
    for old_images, new_images, pictures in zip(
        before.subsets(size), after.subsets(size), chain(pictures_of, [first]), strict=False
    ):
        old.append(kernel_distance(old_images, pictures))
        new.append(kernel_distance(new_images, pictures))
    return (
        Estimate(float(np.mean(old)), tuple(old), before.n),
        Estimate(float(np.mean(new)), tuple(new), after.n),
    )


def group_means(cosines: Sequence[float]) -> tuple[float, ...]:
    """Replicates of the mean of ``cosines``: the means of its ``JACKKNIFE_GROUPS`` groups."""
    return tuple(float(np.mean(cosines[group::JACKKNIFE_GROUPS])) for group in range(JACKKNIFE_GROUPS))


def _group_moments(features: FeatureSet) -> list[Moments]:
    """The moments of each group of the jackknife; ``features`` are read once."""
    moments: dict[int, Moments] = {}
    start, batches = 0, features.batches()
    while shards := list(islice(batches, SHARDS_AT_ONCE)):
        block = np.concatenate(shards)
        for group in range(JACKKNIFE_GROUPS):
            rows = block[(group - start) % JACKKNIFE_GROUPS :: JACKKNIFE_GROUPS]
            if len(rows):
                known = [moments[group]] if group in moments else []
                moments[group] = Moments.merged([*known, Moments.of([rows])])
        start += len(block)
    return [moments[group] for group in sorted(moments)]


def _jackknife(distances: Floats, n: int) -> Estimate:
    """The estimate from the distance with all images, ``distances[0]``, and those without each group."""
    whole = float(distances[0])
    pseudo_values = JACKKNIFE_GROUPS * whole - (JACKKNIFE_GROUPS - 1) * distances[1:]
    return Estimate(whole, tuple(pseudo_values.tolist()), n, least=0)
