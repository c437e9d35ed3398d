"""A share with its sample size and interval."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from scipy.stats import binomtest


@dataclass(frozen=True, slots=True)
class Figure:
    """A share of ``n`` with its 95% Wilson interval, all in [0, 1]."""

    value: float
    n: int
    low: float
    high: float

    def json(self) -> dict[str, float | int]:
        """``{"value", "n", "low", "high"}``."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] of {self.n}"


def share(hits: Sequence[bool]) -> Figure:
    """The share of ``hits`` that are true; of none, 0 with an interval that says nothing."""
    return proportion(sum(hits), len(hits))


def pooled(figures: Sequence[Figure]) -> Figure:
    """The share over the pictures of all ``figures`` together."""
    return proportion(sum(round(figure.value * figure.n) for figure in figures), sum(figure.n for figure in figures))


def proportion(hits: int, n: int) -> Figure:
    """``hits`` of ``n``."""
    if n == 0:
        return Figure(0.0, 0, 0.0, 1.0)
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return Figure(hits / n, n, float(interval.low), float(interval.high))
