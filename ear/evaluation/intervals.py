"""95% intervals of a ratio of two sums over prompts, of which means, differences and ratios are cases.

Images of one prompt resemble each other, so the unit is the prompt: it is drawn with all of its images, or not at all.

With at least ``ENOUGH`` prompts that differ from the others, the interval is a cluster bootstrap's percentiles, widened
for few prompts as in T. C. Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69
(2015). With fewer, resampling sees too little (if none differ, nothing), and values in [0, 1] get an exact interval.
docs/decisions/0013-intervals.md has the coverage of both, and of what was rejected.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ecgvf.core.figures import LEVEL, RESAMPLES, SEED, bootstrap_tail

DRAWS = 9_999
"""Resamples of the prompts, or draws of random weights: an end of an interval then varies with the seed by a fiftieth
of the interval's half-width."""
WEIGHTS = 2_000_000
"""Numbers in all draws; fewer draws if more distinct prompts would need more, but never below ``RESAMPLES``."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sums:
    """Two sums per prompt, float64 [prompts]; the figure is the ratio of their totals."""

    numerator: Floats
    denominator: Floats
    few: bool
    """Fewer than ``ENOUGH`` prompts differ from the others."""
    lowest: tuple[float, float] | None
    """Numerator and denominator of the prompt that would lower the ratio most; None if values have no bounds."""
    highest: tuple[float, float] | None

    @property
    def ratio(self) -> float:
        """NaN if the denominator is 0."""
        total = float(self.denominator.sum())
        return float(self.numerator.sum()) / total if total else math.nan


def differing(values: Floats) -> int:
    """How many of ``values`` are not the commonest one."""
    counts = np.unique(values, return_counts=True)[1]
    return int(counts.sum() - counts.max(initial=0))


def interval(sums: Sums) -> tuple[float, float]:
    """The two ends; NaN if the ratio is undefined, or if few prompts differ and values have no bounds.

    Without bounds nothing is known from values that hardly differ: R. R. Bahadur and L. J. Savage, "The Nonexistence of
    Certain Statistical Procedures in Nonparametric Problems", Annals of Mathematical Statistics 27 (1956).
    """
    if math.isnan(sums.ratio):
        return math.nan, math.nan
    if not sums.few:
        return _bootstrap(sums)
    if sums.lowest is None or sums.highest is None:
        return math.nan, math.nan
    tail = (1 - LEVEL) / 2
    low, high = weighted_ratios(sums, sums.lowest, sums.highest)
    return float(np.quantile(low, tail)), float(np.quantile(high, 1 - tail))


def weighted_ratios(sums: Sums, lowest: tuple[float, float], highest: tuple[float, float]) -> tuple[Floats, Floats]:
    """The ratio under random weights of the prompts and of one more, ``lowest`` or ``highest``: float64 [draws] each.

    The 2.5% quantile of the first and the 97.5% quantile of the second are the ends of N. Gaffke's
    interval for a bounded mean, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a
    nonnegative variable", Mathematical Methods of Statistics 14 (2005), with weights uniform on the simplex as in
    E. Learned-Miller and P. S. Thomas, https://arxiv.org/abs/1905.06208. For 0/1 values it is Clopper and Pearson's;
    beyond these, that it covers is a conjecture without a known counterexample, and simulated here. A ratio is above r
    exactly if the mean of numerator - r x denominator is above 0, so that its interval is made of means, too.
    """
    rows, counts = np.unique(np.stack([sums.numerator, sums.denominator]), axis=1, return_counts=True)
    generator = np.random.default_rng(SEED)
    # Exponential weights, normalised, are uniform on the simplex; equal prompts share the sum of theirs.
    draws = _draws(len(counts))
    weights = generator.standard_gamma(counts, size=(draws, len(counts)))
    one_more = generator.standard_exponential(draws)
    numerator, denominator = (weights @ row for row in rows)
    low, high = (
        (numerator + one_more * extreme[0]) / (denominator + one_more * extreme[1]) for extreme in (lowest, highest)
    )
    return low, high


def _bootstrap(sums: Sums) -> tuple[float, float]:
    """Percentiles of the ratio over resamples of the prompts, as of ``scipy.stats.bootstrap``; but equal prompts are
    drawn at once, which takes a tenth of its time and so allows for ten times as many resamples."""
    rows, counts = np.unique(np.stack([sums.numerator, sums.denominator]), axis=1, return_counts=True)
    drawn = _resamples(tuple(counts.tolist()))
    numerator, denominator = (drawn @ row for row in rows)
    # Where a resample's denominator is 0, the ratio is as high as can be.
    ratios = np.divide(numerator, denominator, out=np.full_like(numerator, np.inf), where=denominator != 0)
    tail = bootstrap_tail(len(sums.numerator))
    return float(np.quantile(ratios, tail)), float(np.quantile(ratios, 1 - tail))


@lru_cache(maxsize=4)
def _resamples(counts: tuple[int, ...]) -> Floats:
    """How often each resample draws each of the distinct prompts, of which there are ``counts``: float64 [draws,
    distinct], not to be written to.

    Cached, as it takes most of the time of an interval, and many figures of one evaluation have equal counts.
    """
    n = sum(counts)
    generator = np.random.default_rng(SEED)
    drawn = generator.multinomial(n, np.array(counts) / n, size=_draws(len(counts))).astype(np.float64)
    drawn.setflags(write=False)
    return drawn


def _draws(distinct: int) -> int:
    return max(RESAMPLES, min(DRAWS, WEIGHTS // distinct))
