"""Figures: a measured value with its sample size and 95% interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
ENOUGH = 10
"""Minimum number of samples that differ from the rest; with fewer, resampling does not show how far a figure varies."""
RESAMPLES = 999
"""At least."""
SEED = 0
"""Of resampling: the same samples always have the same interval."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A value measured on ``n`` samples, with its 95% interval. Undefined numbers are NaN; all are if ``n`` is 0."""

    value: float
    n: int
    low: float
    high: float

    def json(self) -> dict[str, float | int | None]:
        """``{"value", "n", "low", "high"}``; None for what is undefined."""
        value, low, high = (None if math.isnan(number) else number for number in (self.value, self.low, self.high))
        return {"value": value, "n": self.n, "low": low, "high": high}

    @classmethod
    def from_json(cls, content: Mapping[str, float | None]) -> Self:
        """What ``json`` returned. Raises ``KeyError`` and ``TypeError`` for anything else."""
        value, low, high = (
            math.nan if (number := content[name]) is None else float(number) for name in ("value", "low", "high")
        )
        return cls(value, int(content["n"] or 0), low, high)

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"undefined, of {self.n}"
        if math.isnan(self.low):
            return f"{self.value:.3f} of {self.n}, without an interval"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] of {self.n}"


@cache  # a suite's table has few distinct ones, and an exact interval takes milliseconds
def proportion(successes: int, n: int, method: Literal["wilson", "exact"] = "wilson") -> Figure:
    """The share of ``successes`` among ``n``, in [0, 1], with Wilson's score interval.

    ``method="exact"``: with Clopper and Pearson's interval, which never covers less than 95%.
    """
    # SciPy takes a second to import, and most commands measure nothing.
    from scipy.stats import binomtest

    if n == 0:
        return Figure(math.nan, 0, math.nan, math.nan)
    interval = binomtest(successes, n).proportion_ci(LEVEL, method=method)
    return Figure(successes / n, n, float(interval.low), float(interval.high))


def bootstrap_tail(n: int) -> float:
    """Share of resamples of ``n`` samples beyond each end of a 95% percentile interval, for ``n`` of at least 2.

    Below 0.025, because resamples vary less than samples do, and more so the fewer there are: T. C. Hesterberg, "What
    Teachers Should Know About the Bootstrap", The American Statistician 69 (2015).
    """
    from scipy.stats import norm, t

    return float(norm.sf(math.sqrt(n / (n - 1)) * t.ppf((1 + LEVEL) / 2, n - 1)))


def kappa(first: Sequence[str | bool], second: Sequence[str | bool]) -> Figure:
    """Cohen's kappa, in [-1, 1], of two raters' labels of the same things: agreement beyond that expected by chance.

    J. Cohen, "A coefficient of agreement for nominal scales" (1960). Undefined for empty lists, or if chance alone
    would agree on everything. The interval is a bootstrap's over the things; if fewer than ten are labelled
    differently, or fewer than ten alike, it is Clopper and Pearson's of the share of equal labels, with the agreement
    by chance that was seen. Raises ``ValueError`` for lists of different lengths.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} labels by the first rater but {len(second)} by the second")
    n, same = len(first), sum(a == b for a, b in zip(first, second, strict=True))
    labels, indices = np.unique(np.asarray([*first, *second]), return_inverse=True)
    table = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(table, (indices[:n], indices[n:]), 1)
    value, by_chance = (float(number) for number in _kappa_and_chance(table))
    if math.isnan(value):
        return Figure(value, n, value, value)
    if min(same, n - same) < ENOUGH:
        share = proportion(same, n, method="exact")
        low, high = ((end - by_chance) / (1 - by_chance) for end in (share.low, share.high))
    else:
        # Either rater may be the first: of the two orders of the draws, one is always taken.
        cells = max(table.ravel().tolist(), table.T.ravel().tolist())
        drawn = np.random.default_rng(SEED).multinomial(n, np.asarray(cells) / n, size=RESAMPLES)
        tail = bootstrap_tail(n)
        low, high = np.nanquantile(_kappa_and_chance(drawn.reshape(-1, *table.shape))[0], [tail, 1 - tail])
    return Figure(value, n, max(-1.0, float(low)), float(high))


def _kappa_and_chance(tables: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kappa and the agreement by chance of counts [..., label of the first, label of the second]; NaN if undefined."""
    n = np.maximum(tables.sum(axis=(-2, -1)), 1)
    same = np.trace(tables, axis1=-2, axis2=-1) / n
    by_chance = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1) / n**2
    defined = (by_chance < 1) & (tables.sum(axis=(-2, -1)) > 0)
    return np.where(defined, (same - by_chance) / np.where(defined, 1 - by_chance, 1), math.nan), by_chance
