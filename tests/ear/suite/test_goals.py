"""Which goals a recipe meets, from outcomes as a test states them."""

from dataclasses import replace
from typing import Any

import pytest

from ear.evaluation.outcomes import AnsweredQuestion, Outcome
from ear.suite import goals
from ecgvf.core.files import JSON
from tests.ear.evaluation.small_outcomes import FIRST, SECOND, both, erased, kept, sky

ANSWERS = [AnsweredQuestion(str(n), str(n), "others", "present", True, True) for n in range(50)]


def statuses(outcomes: list[Outcome], answered: list[AnsweredQuestion] = ANSWERS) -> dict[tuple[str, str, str], str]:
    return {(goal.figure, goal.group, goal.wording): goal.status for goal in goals.goals(outcomes, answered)}


def clean(left: int = 0, lost: int = 0, lost_cats: int = 0, count: int = 200) -> list[Outcome]:
    """``count`` prompts, of which ``left`` still show church and the others the surrogate and the sky that was asked
    for; the first half has a wording that no training pair has. As many images of a neighbour and of a rehearsed
    concept."""
    concept = [
        replace(
            each,
            judges=both("hotel") if each.condition == "after" and not each.judges[0].present else each.judges,
            wording="synonym" if _number(each) < count // 2 else "explicit",
            attributes=(sky("day", "day"),),
        )
        for each in erased(count, left)
    ]
    return [*concept, *kept("castle", "neighbours", count, lost), *kept("cat", "rehearsed", count, lost_cats)]


def altered(changed: int, count: int = 200, **fields: Any) -> list[Outcome]:
    """``clean``, with other ``fields`` in the first ``changed`` of the images of church after erasing."""
    return [
        replace(each, **fields)
        if each.condition == "after" and each.group == "concept" and _number(each) < changed
        else each
        for each in clean(count=count)
    ]


def _number(outcome: Outcome) -> int:
    return int(outcome.id.removeprefix("record-"))


def test_a_clean_replacement_meets_every_goal() -> None:
    found = statuses(clean())
    assert set(found.values()) == {"met"}
    assert {figure for figure, _, _ in found} == {
        "goal_concept_present",
        "goal_shows_surrogate_over_ceiling",
        "goal_shows_something_over_ceiling",
        "goal_scene_kept_over_ceiling",
        "goal_retention_ratio",
        "goal_understanding_ratio",
    }


@pytest.mark.parametrize(
    ("figure", "group", "wording", "outcomes", "status"),
    [
        ("concept_present", "concept", "pooled", clean(left=3), "not shown"),
        ("concept_present", "concept", "pooled", clean(left=7), "missed"),
        ("concept_present", "concept", "unseen", clean(left=2), "not shown"),
        ("concept_present", "concept", "unseen", clean(left=6), "missed"),
        ("shows_surrogate_over_ceiling", "concept", "pooled", altered(2, 40, judges=both("tent")), "not shown"),
        ("shows_surrogate_over_ceiling", "concept", "pooled", altered(11, judges=both("tent")), "missed"),
        ("shows_something_over_ceiling", "concept", "pooled", altered(11, judges=both("hotel", 0.1)), "missed"),
        ("scene_kept_over_ceiling", "concept", "pooled", altered(11, attributes=(sky("day", "night"),)), "missed"),
        ("retention_ratio", "pooled", "pooled", clean(lost_cats=10), "not shown"),
        ("retention_ratio", "pooled", "pooled", clean(lost_cats=13), "missed"),
        ("retention_ratio", "castle", "pooled", clean(lost=4), "met"),
        ("retention_ratio", "castle", "pooled", clean(lost=1, count=40), "not shown"),
        ("retention_ratio", "castle", "pooled", clean(lost=7), "missed"),
    ],
)
def test_a_goal_is_missed_beyond_its_bound_and_not_shown_if_its_interval_reaches_beyond_it(
    figure: str, group: str, wording: str, outcomes: list[Outcome], status: str
) -> None:
    assert statuses(outcomes)[f"goal_{figure}", group, wording] == status


def test_goals_that_are_not_met_are_named_in_a_line() -> None:
    def row(status: str, figure: str, group: str = "concept", wording: str = "pooled") -> JSON:
        return {"concept": "church", "figure": figure, "group": group, "class": wording, "status": status}

    met = row("met", "goal_scene_kept_over_ceiling")
    missed = row("missed", "goal_retention_ratio", "castle")
    open_ones = [row("not shown", "goal_concept_present", wording="unseen"), row("not shown", "goal_retention_ratio")]
    assert goals.unmet([met, missed, *open_ones, row("none", "concept_present")]) == (
        "missed: church retention_ratio castle; not shown: church concept_present (unseen), church retention_ratio"
    )
    assert goals.unmet([met]) == ""


def test_a_goal_names_the_judges_that_decide_it() -> None:
    judges = {(goal.figure, goal.group): goal.judge for goal in goals.goals(clean(), ANSWERS)}
    assert judges["goal_concept_present", "concept"] == judges["goal_retention_ratio", "castle"] == FIRST
    assert judges["goal_shows_something_over_ceiling", "concept"] == f"{FIRST}+{SECOND}"
    assert judges["goal_understanding_ratio", "others"] is None


def test_questions_about_other_things_are_still_answered() -> None:
    def status(wrong: int) -> str:
        answered = [replace(answer, after=int(answer.id) >= wrong) for answer in ANSWERS]
        return statuses(clean(), answered)["goal_understanding_ratio", "others", "pooled"]

    assert (status(1), status(2)) == ("met", "missed")
    assert statuses(clean(), [])["goal_understanding_ratio", "others", "pooled"] == "not measured"
