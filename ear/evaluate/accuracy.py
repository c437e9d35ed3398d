"""A share with its sample size and interval."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

Z = 1.959963984540054
"""Of a 95% interval."""


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
    n = len(hits)
    if n == 0:
        return Figure(0.0, 0, 0.0, 1.0)
    value = sum(hits) / n
    low, high = wilson(sum(hits), n)
    return Figure(value, n, low, high)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95% score interval of ``hits`` of ``n`` > 0 (E. B. Wilson, 1927), in [0, 1]."""
    share, z2 = hits / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At the ends the formula is exact and floating point is not.
    return (0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half)
