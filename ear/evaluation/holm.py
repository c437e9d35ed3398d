"""Whether many concepts keep within a bound, although some fall below it by chance alone.

What counts is what an interval shows, not where a value lies.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ear.evaluation.intervals import weighted_ratios
from ear.evaluation.statistics import paired_sums, ratio
from ecgvf.core.figures import LEVEL, Figure

Status = Literal["met", "not shown", "missed", "not measured"]
"""What an interval shows about a bound."""


@dataclass(frozen=True, slots=True)
class BoundTest:
    """What is shown about a concept, among many."""

    ratio: Figure
    p_value: float
    """Holm-adjusted, in [0, 1]: of the hypothesis that the ratio is below the bound. NaN if the ratio is undefined."""
    status: Status


def holm_tests(
    concepts: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[str]]], *, at_least: float
) -> dict[str, BoundTest]:
    """Test each concept's mean after over its mean before (``statistics.ratio``), and correct for their number.

    ``concepts`` maps a name to (before, after, prompts), values in [0, 1]; for the bound of a share, ``before`` is 1
    everywhere. The result is sorted by ratio, the lowest first, undefined ratios last.

    The tests are one-sided, by the exact interval whatever the number of prompts that differ. A concept is ``met`` if a
    ratio below ``at_least`` is rejected, ``missed`` if a ratio above it is, each at 2.5% (an end of a 95% interval)
    over all concepts by Holm's correction. Raises ``ValueError`` for values outside [0, 1], and as ``ratio``.
    """
    figures = {name: ratio(*columns) for name, columns in concepts.items()}
    measured = [name for name, figure in figures.items() if not math.isnan(figure.value)]
    measured.sort(key=lambda name: figures[name].value)
    tests = {name: _one_sided(*concepts[name], at_least) for name in measured}
    below = holm({name: p for name, (p, _) in tests.items()})
    above = holm({name: p for name, (_, p) in tests.items()})
    alpha = (1 - LEVEL) / 2
    found = {
        name: BoundTest(
            figures[name],
            below[name],
            "met" if below[name] <= alpha else "missed" if above[name] <= alpha else "not shown",
        )
        for name in measured
    }
    undefined = {name: BoundTest(figures[name], math.nan, "not measured") for name in figures if name not in found}
    return found | undefined


def can_miss(concepts: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[str]]]) -> set[str]:
    """The concepts that a test against a bound of 1 would call ``missed`` if their own after were all 0, whatever the
    others lose: the rest have too few prompts, or too few that show them before.

    ``concepts`` as of ``holm_tests``. Holm's correction multiplies the smallest p-value by the number of tests, and if
    only one concept is lost, its p-value is the smallest.
    """
    worst = {
        name: _one_sided(before, [0.0] * len(after), prompts, 1.0)[1]
        for name, (before, after, prompts) in concepts.items()
        if any(before)
    }
    return {name for name, p_value in worst.items() if len(worst) * p_value <= (1 - LEVEL) / 2}


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p-values adjusted for their number, so that the chance of any false rejection stays below the level.

    S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def _one_sided(
    before: Sequence[float], after: Sequence[float], prompts: Sequence[str], bound: float
) -> tuple[float, float]:
    """p-values of "the ratio is below ``bound``" and of "it is above"."""
    sums = paired_sums(before, after, prompts)
    if sums.lowest is None or sums.highest is None:
        raise ValueError("a value is outside [0, 1]: only shares and probabilities are tested")
    low, high = weighted_ratios(sums, sums.lowest, sums.highest)
    below, above = ((1 + int(beyond.sum())) / (1 + len(beyond)) for beyond in (low < bound, high > bound))
    return below, above
