"""Figures: a measured value with its sample size and 95% interval."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A value measured on ``n`` samples, with its 95% interval. What is undefined is NaN: everything if ``n`` is 0."""

    value: float
    n: int
    low: float
    high: float

    def json(self) -> dict[str, float | int | None]:
        """``{"value", "n", "low", "high"}``; None for what is undefined."""
        value, low, high = (None if math.isnan(number) else number for number in (self.value, self.low, self.high))
        return {"value": value, "n": self.n, "low": low, "high": high}

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"undefined, of {self.n}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] of {self.n}"


def proportion(successes: int, n: int) -> Figure:
    """The share of ``successes`` among ``n``, in [0, 1], with its Wilson score interval."""
    # SciPy takes a second to import, and most commands measure nothing.
    from scipy.stats import binomtest

    if n == 0:
        return Figure(math.nan, 0, math.nan, math.nan)
    interval = binomtest(successes, n).proportion_ci(method="wilson")
    return Figure(successes / n, n, float(interval.low), float(interval.high))
