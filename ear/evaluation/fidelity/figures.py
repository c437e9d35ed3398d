"""FID, KID and CLIP score of feature sets, before and after, with 95% intervals."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from ear.evaluation import statistics
from ear.evaluation.fidelity.features import FeatureSet, Floats
from ear.evaluation.fidelity.frechet import Moments, frechet_distance
from ear.evaluation.fidelity.kernel import kernel_distance, subset_size
from ecgvf.core.figures import LEVEL, Figure

GROUPS = 10
"""Of the jackknife: every tenth image is left out at once."""

BeforeAfterChange = tuple[Figure, Figure, Figure]


def frechet(
    before: FeatureSet, after: FeatureSet, reference: FeatureSet, advance: Callable[[], object] = lambda: None
) -> BeforeAfterChange:
    """FID of the two to ``reference``, and its change, at least 0 each but the change.

    The intervals are a delete-a-group jackknife's: image i is left out of all three sets with every tenth other one,
    and Student's t with nine degrees of freedom widens the deviation of the ten results. They say how far images and
    captions of the same number would vary, not how far FID is above its limit: compare FIDs of equal n only.
    ``advance`` is called ``GROUPS`` + 1 times.
    """
    whole = _distances(before, after, reference, None)
    advance()
    parts = []
    for group in range(GROUPS):
        parts.append(_distances(before, after, reference, group))
        advance()
    old, new = (np.array(values) for values in zip(*parts, strict=True))
    n = before.n
    return (
        _jackknife(whole[0], old, n, least=0),
        _jackknife(whole[1], new, n, least=0),
        _jackknife(whole[1] - whole[0], new - old, n),
    )


def kernel(before: FeatureSet, after: FeatureSet, reference: FeatureSet) -> BeforeAfterChange:
    """KID of the two to ``reference``, and its change: means over disjoint subsets, with Student's t for their spread.

    Subset k of one set is compared with subset k + 1 of the reference, so that no image meets the picture of its own
    caption, and the estimate stays unbiased.
    """
    size = subset_size(min(before.n, reference.n))
    pictures_of = reference.subsets(size)
    first = next(pictures_of)
    old, new = [], []
    # The reference may have more subsets; the last subset of as many gets the first one.
    for old_images, new_images, pictures in zip(
        before.subsets(size), after.subsets(size), chain(pictures_of, [first]), strict=False
    ):
        old.append(kernel_distance(old_images, pictures))
        new.append(kernel_distance(new_images, pictures))
    values = np.array(old), np.array(new)
    return _mean(values[0], before.n), _mean(values[1], before.n), _mean(values[1] - values[0], before.n)


def clip_score(before: FeatureSet, after: FeatureSet, prompts: Sequence[str]) -> BeforeAfterChange:
    """Mean cosine, in [-1, 1], of each image and its text. ``prompts``: an id per image."""
    old, new = before.cosines(), after.cosines()
    return (
        statistics.mean(old, prompts),
        statistics.mean(new, prompts),
        statistics.difference(old, new, prompts),
    )


def _distances(
    before: FeatureSet, after: FeatureSet, reference: FeatureSet, left_out: int | None
) -> tuple[float, float]:
    def keep(index: int) -> bool:
        return index % GROUPS != left_out

    pictures = Moments.of(reference.batches(keep))
    old, new = (frechet_distance(Moments.of(images.batches(keep)), pictures) for images in (before, after))
    return old, new


def _jackknife(value: float, parts: Floats, n: int, *, least: float = -math.inf) -> Figure:
    spread = (GROUPS - 1) / GROUPS * float(((parts - parts.mean()) ** 2).sum())
    figure = _figure(value, n, math.sqrt(spread), GROUPS - 1)
    return replace(figure, low=max(least, figure.low))


def _mean(values: Floats, n: int) -> Figure:
    return _figure(float(values.mean()), n, float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1)


def _figure(value: float, n: int, error: float, freedom: int) -> Figure:
    from scipy.stats import t

    reach = float(t.ppf((1 + LEVEL) / 2, freedom)) * error
    return Figure(value, n, value - reach, value + reach)
