"""Which goals a recipe meets, from outcomes as a test states them."""

from dataclasses import replace

import pytest

from ear.evaluation.outcomes import AnsweredQuestion, Outcome
from ear.suite import goals
from ecgvf.core.files import JSON
from tests.ear.evaluation.small_outcomes import FIRST, SECOND, both, erased, kept

ANSWERS = [AnsweredQuestion(str(n), str(n), "others", "present", True, True) for n in range(50)]


def statuses(outcomes: list[Outcome], answered: list[AnsweredQuestion] = ANSWERS) -> dict[tuple[str, str, str], str]:
    return {(goal.figure, goal.group, goal.wording): goal.status for goal in goals.goals(outcomes, answered)}


def clean(left: int = 0, lost: int = 0) -> list[Outcome]:
    """200 prompts of which ``left`` still show church and the others the surrogate; a neighbour and a stranger."""
    concept = [
        replace(each, judges=both("hotel"), wording="synonym")
        if each.condition == "after" and not each.judges[0].present
        else replace(each, wording="synonym")
        for each in erased(200, left)
    ]
    return [*concept, *kept("castle", "neighbours", 200, lost=lost), *kept("cat", "rehearsed", 200)]


def test_a_clean_replacement_meets_every_goal() -> None:
    found = statuses(clean())
    assert set(found.values()) == {"met"}
    assert {figure for figure, _, _ in found} == {
        "goal_concept_present",
        "goal_shows_surrogate_over_ceiling",
        "goal_shows_something_over_ceiling",
        "goal_retention_ratio",
        "goal_understanding_ratio",
    }


@pytest.mark.parametrize(("left", "status"), [(3, "not shown"), (7, "missed")])
def test_a_bound_is_met_only_by_the_end_of_the_interval(left: int, status: str) -> None:
    assert statuses(clean(left))["goal_concept_present", "concept", "pooled"] == status


def test_a_wrecked_image_is_no_replacement() -> None:
    wrecked = [
        replace(each, judges=both("hotel", 0.1)) if each.condition == "after" and each.group == "concept" else each
        for each in clean()
    ]
    assert statuses(wrecked)["goal_shows_something_over_ceiling", "concept", "pooled"] == "missed"


@pytest.mark.parametrize(("lost", "status"), [(4, "met"), (8, "missed")])
def test_each_neighbour_keeps_its_images(lost: int, status: str) -> None:
    assert statuses(clean(lost=lost))["goal_retention_ratio", "castle", "pooled"] == status


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
    half = [replace(answer, after=int(answer.id) % 2 == 0) for answer in ANSWERS]
    assert statuses(clean(), half)["goal_understanding_ratio", "others", "pooled"] == "missed"
    assert statuses(clean(), [])["goal_understanding_ratio", "others", "pooled"] == "not measured"
