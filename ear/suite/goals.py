"""The goals of the recommended recipe on Janus-nano, and whether its outcomes meet them.

A goal bounds an end of an interval, the value, or both. It is ``met`` if all of its bounds hold, ``missed`` if the
value is beyond a bound, otherwise ``not shown``.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ear.evaluation import figures, statistics
from ear.evaluation.holm import Status
from ear.evaluation.outcomes import AnsweredQuestion, Outcome, selected
from ecgvf.core.figures import Figure
from ecgvf.core.files import JSON

LOST_SHARE = 0.93
"""Share of a neighbour's images that is too little to keep: the hypothesis to reject is that it keeps this or less."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal, with what was measured."""

    figure: str
    group: str
    wording: str
    value: Figure
    status: Status
    judge: str | None
    """The judges that decide it (``figures.judge_names``)."""


def unmet(rows: Iterable[JSON]) -> str:
    """The goals among a suite's ``rows`` that are not met, in a line; "" if all are."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["figure"].startswith("goal_") and row["status"] != "met":
            group = "" if row["group"] in ("concept", "pooled", "others") else f" {row['group']}"
            wording = "" if row["class"] == "pooled" else f" ({row['class']})"
            name = row["figure"].removeprefix("goal_")
            found.setdefault(row["status"], []).append(f"{row['concept']} {name}{group}{wording}")
    return "; ".join(f"{status}: {', '.join(goals)}" for status, goals in found.items())


def goals(outcomes: Sequence[Outcome], answered: Sequence[AnsweredQuestion]) -> Iterator[Goal]:
    """The goals for a concept, in the order in which they are stated (docs/evaluate.md)."""
    names = figures.judge_names
    concept = [each for each in outcomes if each.group == "concept" and each.sample in ("main", "wording")]
    main, after = [each for each in concept if each.sample == "main"], selected(concept, "after")
    present = figures.concept_share(each for each in after if each.sample == "main")
    judge = names("concept_present", concept)
    yield Goal("goal_concept_present", "concept", "pooled", present, _within(present, most=0.03), judge)
    unseen = figures.concept_share(each for each in after if each.wording != "explicit")
    yield Goal("goal_concept_present", "concept", "unseen", unseen, _within(unseen, most=0.05), judge)
    for name, ratio in figures.over_ceiling(outcomes).items():
        least = 0.88 if name == "shows_surrogate" else None
        status = _within(ratio, least=least, point=0.95)
        yield Goal(f"goal_{name}_over_ceiling", "concept", "pooled", ratio, status, names(name, main))
    ratio, retained = figures.retention_ratio(outcomes), figures.of_retained(outcomes)
    judge = names("retention", retained)
    yield Goal("goal_retention_ratio", "pooled", "pooled", ratio, _within(ratio, least=0.97), judge)
    for name, test in figures.neighbour_tests(outcomes, LOST_SHARE).items():
        missed = test.ratio.value < 0.97
        judge = names("retention", [each for each in retained if each.concept == name])
        yield Goal("goal_retention_ratio", name, "pooled", test.ratio, "missed" if missed else test.status, judge)
    kept = _understanding(answered)
    yield Goal("goal_understanding_ratio", "others", "pooled", kept, _within(kept, point=0.98), None)


def _understanding(answered: Sequence[AnsweredQuestion]) -> Figure:
    """Questions about other things: answered correctly after over before.

    It pools kinds of questions, which ``figures.understanding`` never does: a model that says "no" more often loses in
    a kind and gains in another. The rows ``understanding`` have each kind.
    """
    others = [answer for answer in answered if answer.group == "others"]
    before, after = [float(each.before) for each in others], [float(each.after) for each in others]
    return statistics.ratio(before, after, [each.image_id for each in others])


def _within(figure: Figure, *, most: float = math.inf, least: float | None = None, point: float = -math.inf) -> Status:
    """Whether the upper end is at most ``most``, the lower end at least ``least`` and the value at least ``point``."""
    if math.isnan(figure.value):
        return "not measured"
    if figure.value > most or figure.value < max(point, -math.inf if least is None else least):
        return "missed"
    shown = figure.high <= most if most < math.inf else True
    return "met" if shown and (least is None or figure.low >= least) else "not shown"
