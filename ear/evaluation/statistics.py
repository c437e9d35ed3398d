"""Figures over prompts: means, paired differences and ratios of what was measured in each image.

Values, prompts and weights are parallel lists, one entry per image; several images of a prompt (seeds, repetitions,
trained adapters) stay one unit. ``n`` is the number of distinct prompts. Weights are positive; None: every image weighs
the same. Intervals are those of ``ear.evaluation.intervals``. If fewer than ten prompts differ, they are exact for
shares, whose values are in [0, 1]; other values then have none.
"""

from collections.abc import Sequence

import numpy as np

from ear.evaluation.intervals import Floats, Sums, differing, interval
from ecgvf.core.figures import ENOUGH, Figure, proportion


def mean(
    values: Sequence[float], prompts: Sequence[str], weights: Sequence[float] | None = None, *, shares: bool = True
) -> Figure:
    """The mean of ``values``, booleans or numbers in [0, 1]; of any range unless they are ``shares``.

    With one 0/1 value of weight 1 per prompt it is a share, and its interval Wilson's; or Clopper and Pearson's if
    fewer than ten values are 0 or fewer than ten are 1, since there Wilson's covers less (0.9245 at a share of 0.95 of
    20 prompts).

    Raises ``ValueError`` for lists of different lengths, for NaN, and for a share outside [0, 1].
    """
    counts, sums = _by_prompt(prompts, weights, values, shares=shares)
    few = _few(sums / counts, shares)
    if (counts == 1).all() and np.isin(sums, (0, 1)).all():
        return proportion(int(sums.sum()), len(sums), method="exact" if few else "wilson")
    most = float(counts.max())
    return _figure(Sums(sums, counts, few, (0, most) if shares else None, (most, most) if shares else None))


def difference(
    before: Sequence[float],
    after: Sequence[float],
    prompts: Sequence[str],
    weights: Sequence[float] | None = None,
    *,
    shares: bool = True,
) -> Figure:
    """The mean of ``after`` - ``before``, each pair about one prompt and seed.

    Raises as ``mean``. If no prompt differs, the interval reaches as far as Clopper and Pearson's for 0 of ``n``, or
    farther if prompts have unequal numbers of images or weights.
    """
    counts, old, new = _by_prompt(prompts, weights, before, after, shares=shares)
    few = _few((new - old) / counts, shares)
    most = float(counts.max(initial=1))
    return _figure(Sums(new - old, counts, few, (-most, most) if shares else None, (most, most) if shares else None))


def ratio(
    before: Sequence[float], after: Sequence[float], prompts: Sequence[str], weights: Sequence[float] | None = None
) -> Figure:
    """The mean of ``after`` over the mean of ``before``, shares both, each pair about one prompt and seed.

    Undefined if ``before`` is 0 everywhere. Exact also if ``before`` is not 0 in fewer than ten prompts. Raises as
    ``mean``.
    """
    return _figure(paired_sums(before, after, prompts, weights))


def paired_sums(
    before: Sequence[float], after: Sequence[float], prompts: Sequence[str], weights: Sequence[float] | None = None
) -> Sums:
    """Per prompt the sums of ``after`` and ``before``, whose totals are those of ``ratio``. Raises as ``mean``."""
    counts, old, new = _by_prompt(prompts, weights, before, after, shares=True)
    few = _few((new - old) / counts, True) or int(np.count_nonzero(old)) < ENOUGH
    most = float(counts.max(initial=1))
    return Sums(new, old, few, (0, most), (most, 0))


def _by_prompt(
    prompts: Sequence[str], weights: Sequence[float] | None, *columns: Sequence[float], shares: bool
) -> tuple[Floats, ...]:
    """Per distinct prompt the weight of its images, then the weighted sum of each column: float64 [prompts] each."""
    distinct, prompt_of = np.unique(np.asarray(prompts, dtype=np.str_), return_inverse=True)
    weight_of = np.ones(len(prompts)) if weights is None else np.asarray(weights, dtype=np.float64)
    sums: list[Floats] = [np.bincount(prompt_of, weight_of, len(distinct)).astype(np.float64)]
    for column in columns:
        values = np.asarray(column, dtype=np.float64)
        if len(values) != len(prompts):
            raise ValueError(f"{len(values)} values but {len(prompts)} prompts")
        if np.isnan(values).any():
            raise ValueError("a value is NaN: leave out what was not measured, with its prompt")
        if shares and not ((values >= 0) & (values <= 1)).all():
            raise ValueError("a share is outside [0, 1]")
        sums.append(np.bincount(prompt_of, weight_of * values, len(distinct)).astype(np.float64))
    return tuple(sums)


def _few(values: Floats, shares: bool) -> bool:
    """Whether fewer than ``ENOUGH`` prompts differ from the others; of shares, a difference of hundredths is none.

    Probabilities near 0 all differ, and resampling sees none of the rare high ones.
    """
    return differing(np.round(values, 1) if shares else values) < ENOUGH


def _figure(sums: Sums) -> Figure:
    return Figure(sums.ratio, len(sums.numerator), *interval(sums))
