"""Figures on outcomes whose every judgement is known."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ear.evaluation import figures
from ear.evaluation.figures import CONFIDENT_SHARE, GROUPS, SEEDS, FigureRow
from ear.evaluation.outcomes import AnsweredQuestion, AttributeOutcome, JudgeOutcome, Outcome
from tests.ear.evaluation.small_outcomes import (
    FIRST,
    SECOND,
    both,
    erased,
    evaluation,
    kept,
    outcome,
    retained,
    saw,
    sky,
)


def row(rows: Sequence[FigureRow], figure: str, group: str | None = None) -> FigureRow:
    """The only one of that figure and group."""
    [found] = [each for each in rows if each.figure == figure and group in (None, each.group)]
    return found


def values(found: FigureRow) -> tuple[float, float, float | None]:
    """Before, after and of the ceiling."""
    return found.before.value, found.after.value, None if found.ceiling is None else found.ceiling.value


def everything() -> list[Outcome]:
    """Church, and a concept of each group."""
    of_groups = [kept(name, group) for name, group in zip(("castle", "hotel", "cat", "dog"), GROUPS, strict=True)]
    return [*erased(4, left=1), *(each for outcomes in of_groups for each in outcomes)]


def test_concept_present_is_the_first_judges_share_of_images_with_its_ceiling() -> None:
    found = row(figures.replacement(erased(4, left=1)), "concept_present")
    assert values(found) == (1.0, 0.25, 0.0)
    assert (found.before.n, found.after.n, found.change.value) == (4, 4, -0.75)
    assert (found.group, found.judge, found.guidance, found.temperature) == ("concept", FIRST, 1.25, 0.5)
    doubted = [replace(each, judges=(each.judges[0], saw("tent", judge=SECOND))) for each in erased(4, left=1)]
    assert row(figures.replacement(doubted), "concept_present") == found


def test_the_concepts_probability_is_a_mean() -> None:
    found = row(figures.replacement(erased(4, left=1)), "concept_probability")
    assert values(found) == (pytest.approx(0.9), pytest.approx((0.9 + 3 * 0.1) / 4), pytest.approx(0.1))


def test_an_image_shows_its_own_surrogate_in_any_case_and_records_without_one_are_left_out() -> None:
    outcomes = [
        *(replace(each, surrogate_label="Hotel") for each in erased(2)),
        *(replace(each, id=f"tent-{each.id}", surrogate_label="tent") for each in erased(1)),
        *(replace(each, id=f"no-{each.id}", surrogate_label=None) for each in erased(3)),
    ]
    found = row(figures.replacement(outcomes), "shows_surrogate")
    assert values(found) == (0.0, pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert found.after.n == found.change.n == 3
    none = [replace(each, surrogate_label=None) for each in erased(2)]
    assert "shows_surrogate" not in {each.figure for each in figures.replacement(none)}
    detected = [replace(each, judges=(JudgeOutcome(FIRST, False, 0.0, ()),)) for each in erased(2)]
    assert values(row(figures.replacement(detected), "shows_surrogate")) == (0.0, 0.0, 0.0)


def confident(first: Sequence[float], second: Sequence[float]) -> list[Outcome]:
    """Images of a castle on which two judges agree, with these confidences."""
    return [
        retained("castle", "neighbours", number, judges=(saw("castle", a), saw("castle", b, judge=SECOND)))
        for number, (a, b) in enumerate(zip(first, second, strict=True))
    ]


CONFIDENCES = st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=60)


@given(CONFIDENCES)
def test_thresholds_let_95_percent_of_the_agreeing_images_pass_at_equal_quantiles(
    confidences: list[tuple[float, float]],
) -> None:
    first, second = (list(column) for column in zip(*confidences, strict=True))
    limits = figures.thresholds(confident(first, second))[FIRST, SECOND]

    def passing(limits: tuple[float, ...]) -> int:
        return sum(a >= limits[0] and b >= limits[1] for a, b in confidences)

    assert passing(limits) >= CONFIDENT_SHARE * len(confidences)
    by_quantile = list(zip(sorted(first), sorted(second), strict=True))
    assert limits in by_quantile
    # The highest quantile that does: at the next one fewer pass, if no confidences are equal.
    higher = by_quantile[by_quantile.index(limits) + 1 :]
    if higher and len(set(first)) == len(set(second)) == len(confidences):
        assert passing(higher[0]) < CONFIDENT_SHARE * len(confidences)


def test_thresholds_come_from_the_frozen_models_retained_images_on_which_the_judges_agree() -> None:
    agreeing = confident([0.6 + 0.01 * number for number in range(20)], [0.5 + 0.01 * number for number in range(20)])
    expected = {(FIRST, SECOND): (pytest.approx(0.61), pytest.approx(0.51))}
    assert figures.thresholds(agreeing) == expected
    unsure = both("castle", 0.01, "castle")
    others = [
        *(replace(each, judges=(saw("castle", 0.01), saw("house", 0.01, judge=SECOND))) for each in agreeing),
        *(replace(each, condition="after", judges=unsure) for each in agreeing),
        *(replace(each, sample="seeds", judges=unsure) for each in agreeing),
        *(outcome(number, judges=both("church", 0.01)) for number in range(20)),
    ]
    assert figures.thresholds([*agreeing, *others]) == expected
    assert figures.thresholds(others) == {}


def test_thresholds_of_test_come_from_validation_images() -> None:
    of_validation = [replace(each, sample="threshold") for each in confident([0.7] * 20, [0.8] * 20)]
    of_test = [replace(each, id=f"test-{each.id}") for each in confident([0.6] * 20, [0.5] * 20)]
    assert figures.thresholds([*of_test, *of_validation]) == {(FIRST, SECOND): (0.7, 0.8)}
    without = [figure.json() for figure in figures.retention_by_group(of_test)]
    assert [figure.json() for figure in figures.retention_by_group([*of_test, *of_validation])] == without


@pytest.mark.parametrize(
    ("judges", "expected"),
    [
        ((saw("hotel"), saw("hotel", judge=SECOND)), 1.0),
        ((saw("hotel"), saw("tent", judge=SECOND)), 0.0),
        ((saw("hotel"), saw("hotel", 0.5, judge=SECOND)), 0.0),
        ((saw("hotel", 0.5), saw("hotel", judge=SECOND)), 0.0),
        ((saw("hotel", 0.7), saw("hotel", 0.6, judge=SECOND)), 1.0),
    ],
)
def test_an_image_shows_something_if_two_judges_agree_and_both_are_confident(
    judges: tuple[JudgeOutcome, ...], expected: float
) -> None:
    limits = {(FIRST, SECOND): (0.7, 0.6)}
    outcomes = [outcome(0), outcome(0, "after", judges=judges)]
    assert row(figures.replacement(outcomes, limits), "shows_something").after.value == expected


def test_a_single_judge_tells_by_its_confidence_and_without_a_threshold_the_row_is_absent() -> None:
    def alone(outcomes: Sequence[Outcome], judge: str, confidence: float) -> list[Outcome]:
        return [replace(each, judges=(saw("hotel", confidence, judge=judge),)) for each in outcomes]

    castle = alone(kept("castle", "neighbours"), "resnet50", 0.8)
    sure, unsure = alone(erased(2), "resnet50", 0.9), alone(erased(2), "resnet50", 0.3)
    assert row(figures.replacement([*sure, *castle]), "shows_something").after.value == 1.0
    assert row(figures.replacement([*unsure, *castle]), "shows_something").after.value == 0.0
    other = figures.replacement([*alone(erased(2), "clip", 0.9), *castle])
    assert "shows_something" not in {each.figure for each in other}
    disagreeing = [replace(each, judges=(saw("a"), saw("b", judge=SECOND))) for each in kept("castle", "neighbours")]
    assert {each.figure for each in figures.retention_by_group(disagreeing)} == {"retention", "token_agreement"}


def test_the_scene_is_kept_per_attribute_and_pooled_over_what_the_prompt_asks_for() -> None:
    def attributes(sky_seen: str, ground_asked: str | None) -> tuple[AttributeOutcome, ...]:
        return sky("night", sky_seen), AttributeOutcome("ground", ground_asked, "sand", 0.9)

    outcomes = [
        *(outcome(number, "before", attributes=attributes("night", "sand")) for number in range(3)),
        outcome(0, "after", attributes=attributes("night", "sand")),
        outcome(1, "after", attributes=attributes("day", "sand")),
        outcome(2, "after", attributes=attributes("day", None)),
        outcome(0, "ceiling", attributes=attributes("night", None)),
    ]
    rows = figures.scene(outcomes)
    assert values(row(rows, "scene_kept", "pooled")) == (1.0, pytest.approx((1 + 0.5 + 0) / 3), 1.0)
    assert values(row(rows, "scene_kept", "sky")) == (1.0, pytest.approx(1 / 3), 1.0)
    assert values(row(rows, "scene_kept", "ground")) == (1.0, 1.0, None)
    assert (row(rows, "scene_kept", "ground").after.n, row(rows, "scene_kept", "ground").before.n) == (2, 3)


def test_a_row_names_the_judges_that_decide_its_figure() -> None:
    scenes = (sky("night", "night"), AttributeOutcome("ground", "sand", "sand", 0.9))
    concept = [replace(each, attributes=scenes, clip_surrogate=0.3, clip_target=0.2) for each in erased(2)]
    styled = [
        replace(each, judges=tuple(replace(judge, judge=name) for judge, name in zip(each.judges, names, strict=True)))
        for each in kept("pixel art", "rehearsed", 2)
        for names in [("nano-style", "nano-style-b")]
    ]
    outcomes = [*concept, *kept("castle", "neighbours", 2), *styled]
    rows = [*figures.replacement(outcomes), *figures.scene(outcomes), *figures.retention_by_group(outcomes)]
    judges = {(row.figure, row.group): row.judge for row in rows}
    assert judges["concept_present", "concept"] == judges["shows_surrogate", "concept"] == FIRST
    assert judges["shows_something", "concept"] == f"{FIRST}+{SECOND}"
    assert judges["scene_kept", "pooled"] == "nano-ground+nano-sky" and judges["scene_kept", "sky"] == "nano-sky"
    assert judges["clip_surrogate", "pooled"] == "clip"
    assert judges["nll_frozen", "pooled"] is judges["token_agreement", "pooled"] is None
    assert judges["retention", "rehearsed"] == "nano-style"
    assert judges["retention", "pooled"] == f"{FIRST}+nano-style"
    answers = [AnsweredQuestion("1", "image", "others", "present", True, True)]
    assert {row.judge for row in figures.understanding(answers, 1.25, 0.5)} == {None}
    assert all(figures.FigureRow.from_json(row.json()).judge == row.judge for row in rows)


def test_questions_are_counted_by_group_and_kind_in_units_of_images() -> None:
    answered = [
        AnsweredQuestion(f"{kind}-{image}-{number}", str(image), group, kind, before=True, after=image >= wrong)
        for group, kind, wrong in (("others", "present", 3), ("others", "absent_random", 0), ("concept", "present", 12))
        for image in range(12)
        for number in range(2)
    ]
    rows = {each.group: each for each in figures.understanding(answered, 1.25, 0.5)}
    assert {group: values(each) for group, each in rows.items()} == {
        "others, present": (1.0, 0.75, None),
        "others, absent_random": (1.0, 1.0, None),
        "concept, present": (1.0, 0.0, None),
    }
    assert rows["others, present"].change.value == -0.25
    assert {figure.n for each in rows.values() for figure in (each.before, each.after, each.change)} == {12}


def test_an_attribute_that_no_prompt_asks_for_has_no_row() -> None:
    assert [each.figure for each in figures.scene(erased(2))] == ["nll_frozen"]
    open_sky = [replace(each, attributes=(sky(None, "day"),)) for each in erased(2)]
    assert [each.figure for each in figures.scene(open_sky)] == ["nll_frozen"]


def test_coherence_is_the_mean_of_nats_beside_that_of_the_ceiling() -> None:
    nats = {"before": 2.0, "after": 7.0, "ceiling": 1.0}
    outcomes = [replace(each, nll_frozen=nats[each.condition] + each.seed % 2) for each in erased(24)]
    found = row(figures.scene(outcomes), "nll_frozen")
    assert values(found) == (2.5, 7.5, 1.5)
    assert found.change.value == 5.0
    assert 2.0 < found.before.low < found.before.high < 3.0


def test_retained_concepts_count_the_same_however_many_images_they_have() -> None:
    outcomes = [*kept("castle", "neighbours", 30, lost=15), *kept("cat", "unrehearsed", 10)]
    pooled = {each.group: each for each in figures.retention_by_group(outcomes) if each.figure == "retention"}["pooled"]
    assert (pooled.after.value, pooled.change.value) == (pytest.approx(0.75), pytest.approx(-0.25))
    assert figures.retention_ratio(outcomes).value == pytest.approx(0.75)
    assert pooled.after.n == 40


def test_retention_is_of_disjoint_groups_and_of_all_pooled() -> None:
    outcomes = [
        *kept("castle", "neighbours", 4, lost=2),
        *kept("hotel", "surrogates", 4, lost=1),
        *kept("dog", "unrehearsed", 8),
    ]
    rows = figures.retention_by_group(outcomes)
    by_group = {each.group: each for each in rows if each.figure == "retention"}
    assert list(by_group) == ["neighbours", "surrogates", "unrehearsed", "pooled"]
    assert [each.after.value for each in by_group.values()] == [0.5, 0.75, 1.0, 0.75]
    pooled = by_group.pop("pooled")
    assert pooled.after.n == sum(each.after.n for each in by_group.values()) == 16
    assert {each.figure for each in rows if each.group == "pooled"} == {
        "retention",
        "shows_something",
        "token_agreement",
    }
    agreement = row(rows, "token_agreement", "pooled")
    assert (agreement.before.n, agreement.after.value, math.isnan(agreement.change.value)) == (0, 0.75, True)


def test_retained_concepts_come_one_by_one_the_worst_first() -> None:
    outcomes = [*kept("dog", "unrehearsed"), *kept("castle", "neighbours", lost=3), *kept("cat", "rehearsed", lost=1)]
    rows = figures.retention_by_concept(outcomes)
    assert [(each.group, each.after.value) for each in rows] == [("castle", 0.25), ("cat", 0.75), ("dog", 1.0)]
    both_animals = figures.retained(outcomes, {"dog", "cat"})
    assert both_animals is not None and (both_animals.after.value, both_animals.after.n) == (7 / 8, 8)
    assert figures.retained(outcomes, {"horse"}) is None


def test_a_concept_of_few_prompts_is_not_called_kept_because_others_have_many() -> None:
    many = [each for number in range(9) for each in kept(f"thing {number}", "unrehearsed", 60)]
    of_many = {f"thing {number}": False for number in range(9)}
    for lost in (0, 6):  # too few even for the loss of all to show
        found = figures.lost([*many, *kept("castle", "neighbours", 6, lost)])
        assert found == {**of_many, "castle": None}
    many = [each for number in range(9) for each in kept(f"thing {number}", "unrehearsed", 60, lost=60)]
    found = figures.lost([*many, *kept("castle", "neighbours", 6, lost=6)])
    assert set(found.values()) == {True}  # the last of ten tests is not corrected


def test_the_retention_ratio_is_of_shares_and_undefined_without_any() -> None:
    outcomes = [*kept("castle", "neighbours", 4, lost=2), *kept("dog", "unrehearsed", 4)]
    never = {"judges": both("tent", concept="dog")}
    outcomes += [retained("dog", "unrehearsed", 9, condition, **never) for condition in ("before", "after")]
    assert figures.retention_ratio(outcomes).value == pytest.approx((1 / 2 + 4 / 5) / (1 + 4 / 5))
    assert figures.retention_ratio(outcomes, "neighbours").value == 0.5
    assert figures.retention_ratio(outcomes, "rehearsed").json() == {"value": None, "n": 0, "low": None, "high": None}


def of_seeds(number: int, labels: Sequence[str], condition: str = "after", **changed: Any) -> list[Outcome]:
    """The images of one prompt with several seeds; the first is one of the main ones."""
    samples = ["main", *["seeds"] * (len(labels) - 1)]
    return [
        outcome(number, condition, label, seed=seed, **{"sample": sample, **changed})
        for seed, (label, sample) in enumerate(zip(labels, samples, strict=True))
    ]


def test_the_erasure_rate_is_a_figure_and_undefined_if_nothing_showed_the_concept() -> None:
    rate = evaluation([*kept("castle", "neighbours"), *erased(40, left=12)]).erasure_rate
    assert (rate.value, rate.n) == (pytest.approx(0.7), 40) and 0.5 < rate.low < 0.7 < rate.high < 0.9
    assert evaluation(erased(40, left=12)).json()["erasure_rate"] == rate.json()
    never = [replace(each, judges=both("hotel")) for each in erased(4)]
    assert figures.erasure_rate(never).json() == {"value": None, "n": 4, "low": None, "high": None}


def test_a_concept_is_in_any_of_four_seeds() -> None:
    assert SEEDS == 4
    outcomes = [
        *of_seeds(0, ["church"] * 4, "before"),
        *of_seeds(1, ["church"] * 4, "before"),
        *of_seeds(0, ["hotel"] * 4),
        *of_seeds(1, ["hotel", "hotel", "church", "hotel"]),
        *of_seeds(2, ["church"] * 3, "before"),
        *of_seeds(2, ["church"] * 3),
    ]
    [found] = figures.concept_in_any_seed(outcomes)
    assert (values(found), found.after.n, found.group) == ((1.0, 0.5, None), 2, "concept")
    shuffled = random.Random(0).sample(outcomes, len(outcomes))
    assert figures.concept_in_any_seed(shuffled) == [found]
    assert figures.concept_in_any_seed(erased(4)) == []
    fifth = [*of_seeds(0, ["church"] * 5, "before"), *of_seeds(0, [*["hotel"] * 4, "church"])]
    assert figures.concept_in_any_seed(fifth)[0].after.value == 0.0


def test_conditions_and_adapters_are_compared_on_their_common_seeds() -> None:
    before, after = of_seeds(0, ["church"] * 6, "before"), of_seeds(0, ["hotel"] * 6)
    # Each has four seeds or more. Only those of 2 to 5 are everywhere, and show no church after erasing.
    other = of_seeds(0, ["church", "church", *["hotel"] * 4], adapter="b" * 16)
    [found] = figures.concept_in_any_seed([*before[2:], *after, *other])
    assert (values(found), found.after.n) == ((1.0, 0.0, None), 1)
    assert figures.concept_in_any_seed([*before[:4], *after[2:]]) == []  # two in common
    assert figures.concept_in_any_seed([*before[:3], *after]) == []


def test_seeds_of_different_adapters_are_not_mixed() -> None:
    before = of_seeds(0, ["church"] * 4, "before")
    gone, left = of_seeds(0, ["hotel"] * 4), of_seeds(0, ["church", *["hotel"] * 3], adapter="b" * 16)
    [found] = figures.concept_in_any_seed([*before, *gone, *left])
    assert (values(found), found.after.n) == ((1.0, 0.5, None), 1)
    # Two adapters with two seeds each are not four seeds.
    assert figures.concept_in_any_seed([*before, *gone[:2], *left[:2]]) == []


def test_a_wordings_row_counts_its_prompts_and_its_distinct_phrases() -> None:
    terms = ["kirk", "Kirk", "chapel", "chapel"]
    synonyms = [
        replace(each, sample="wording", wording="synonym", id=f"s-{number}", seed=number, term=terms[number])
        for number in range(4)
        for each in erased(1)
    ]
    rows = figures.by_wording([*erased(3), *synonyms])
    found = {each.wording: each for each in rows if each.figure == "concept_present"}
    assert {name: (each.after.n, each.phrases) for name, each in found.items()} == {
        "explicit": (3, 1),
        "synonym": (4, 2),
    }
    assert row(rows[:3], "concept_present").json()["class"] == "explicit"
    unknown = [replace(each, wording=None) for each in erased(3)]
    assert figures.by_wording(unknown) == []


def test_of_a_style_of_nanos_world_all_words_are_the_phrase() -> None:
    prompts = [
        "A fox, in the style of Van Gogh",
        "a fox in the style of van gogh.",
        "An oil painting in the style of Van Gogh of a fox",
        "A fox as a Van Gogh painting",
        "A Van Gogh painting of a fox",
    ]
    images = [
        replace(each, concept="van-gogh", term="Van Gogh", attributes=(sky(None, "clear"),), prompt=prompts[number])
        for number in range(len(prompts))
        for each in (outcome(number), outcome(number, "after"))
    ]
    images += [replace(outcome(0, "ceiling"), concept="van-gogh", term="Van Gogh", attributes=(sky(None, "clear"),))]

    def counted(outcomes: Sequence[Outcome]) -> set[int | None]:
        return {each.phrases for each in figures.by_wording(outcomes)}

    assert counted(images) == {4}
    assert counted([replace(each, attributes=()) for each in images]) == {1}  # outside nano's world, the term


def test_a_wording_has_its_scene_and_its_nats_per_token() -> None:
    seen = {"explicit": "clear", "synonym": "stormy"}
    outcomes = [
        replace(each, wording=wording, id=f"{wording}-{each.id}", attributes=(sky("clear", sky_seen),), nll_frozen=nats)
        for (wording, sky_seen), nats in zip(seen.items(), (2.0, 3.0), strict=True)
        for each in erased(4)
    ]
    found = {(each.figure, each.wording): each for each in figures.by_wording(outcomes)}
    assert [found["scene_kept", wording].after.value for wording in seen] == [1.0, 0.0]
    assert [found["nll_frozen", wording].after.value for wording in seen] == [2.0, 3.0]
    assert found["scene_kept", "synonym"].phrases == 1


def test_another_guidance_or_temperature_has_rows_of_its_own() -> None:
    guided = [replace(each, sample="sampling", guidance=2.0) for each in erased(2, left=2)]
    cold = [replace(each, sample="sampling", temperature=1.0) for each in erased(2)]
    rows = figures.replacement_by_sampling([*erased(4), *guided, *cold])
    found = [each for each in rows if each.figure == "concept_present"]
    assert [(each.guidance, each.temperature, each.after.value) for each in found] == [
        (1.25, 1.0, 0.0),
        (2.0, 0.5, 1.0),
    ]
    assert figures.replacement_by_sampling(erased(4)) == []


def test_figures_of_the_main_images_do_not_change_when_those_of_the_full_figures_are_added() -> None:
    main = everything()
    full = [
        replace(each, sample=sample, seed=each.seed + 100, judges=both("church"), nll_frozen=9.0)
        for sample in ("wording", "seeds", "sampling")
        for each in erased(4, left=4)
    ]

    def of(outcomes: Sequence[Outcome]) -> list[object]:
        by_concept = figures.retention_by_concept(outcomes)
        rows = [
            *figures.replacement(outcomes),
            *figures.scene(outcomes),
            *figures.retention_by_group(outcomes),
            *by_concept,
        ]
        return [each.json() for each in rows] + [figures.retention_ratio(outcomes).json()]

    assert of([*main, *full]) == of(main)
    assert of([*full, *main]) == of(main)


def test_several_adapters_are_measured_against_one_before() -> None:
    first = erased(4, left=0)
    second = [replace(each, adapter="b" * 16) for each in erased(4, left=2) if each.condition == "after"]
    found = row(figures.replacement([*first, *second]), "concept_present")
    assert values(found) == (1.0, 0.25, 0.0)
    # Images of another adapter are no further prompts.
    assert (found.before.n, found.after.n, found.change.n, found.change.value) == (4, 4, 4, -0.75)


def test_what_is_not_measured_is_null_in_json_and_a_row_says_what_it_measures() -> None:
    found = row(figures.replacement(erased(4, left=1)), "concept_present").json()
    where = ["figure", "group", "guidance", "temperature", "judge"]
    assert list(found) == [*where, "before", "after", "ceiling", "change"]
    undefined = row(figures.retention_by_group(kept("castle", "neighbours")), "token_agreement", "pooled").json()
    assert undefined["before"] == {"value": None, "n": 0, "low": None, "high": None}
    assert undefined["ceiling"] is None


def test_a_prompt_without_a_surrogate_is_not_compared_with_the_ceiling() -> None:
    outcomes = erased(12, 0)
    without = [each for each in outcomes if not (each.condition == "ceiling" and each.id == "record-0")]
    assert figures.over_ceiling(without)["shows_surrogate"].n == figures.over_ceiling(outcomes)["shows_surrogate"].n - 1
