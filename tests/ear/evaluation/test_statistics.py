"""Means, differences and ratios: the unit is the prompt."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ear.evaluation.statistics import difference, mean, ratio
from ecgvf.core.figures import Figure, proportion

PROMPTS = [f"prompt {number}" for number in range(64)]


def zeros_and_ones(ones: int, of: int = 64) -> list[float]:
    return [1.0] * ones + [0.0] * (of - ones)


def width(figure: Figure) -> float:
    return figure.high - figure.low


def test_a_share_of_single_images_has_wilsons_interval() -> None:
    assert mean(zeros_and_ones(20), PROMPTS) == proportion(20, 64)
    assert mean([True] * 20 + [False] * 44, PROMPTS) == proportion(20, 64)


def test_a_share_in_which_few_prompts_differ_is_exact() -> None:
    assert mean(zeros_and_ones(3), PROMPTS) == proportion(3, 64, method="exact")
    assert mean(zeros_and_ones(61), PROMPTS) == proportion(61, 64, method="exact")


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.95])
def test_a_share_of_20_prompts_is_covered_where_wilsons_interval_alone_is_not(share: float) -> None:
    """Exactly, by the binomial probability of each number of ones."""
    probability = [math.comb(20, ones) * share**ones * (1 - share) ** (20 - ones) for ones in range(21)]

    def coverage(figures: list[Figure]) -> float:
        return sum(p for p, figure in zip(probability, figures, strict=True) if figure.low <= share <= figure.high)

    assert coverage([mean(zeros_and_ones(ones, 20), PROMPTS[:20]) for ones in range(21)]) >= 0.95
    if share == 0.95:
        assert coverage([proportion(ones, 20) for ones in range(21)]) == pytest.approx(0.9245, abs=1e-4)


def test_four_equal_images_of_a_prompt_are_worth_one() -> None:
    once, four_times = mean(zeros_and_ones(20), PROMPTS), mean(zeros_and_ones(20) * 4, PROMPTS * 4)
    assert (four_times.value, four_times.n) == (once.value, 64)
    assert width(four_times) == pytest.approx(width(once), rel=0.1)


def test_weights_change_means_and_not_the_number_of_prompts() -> None:
    found = mean([1, 1, 0], ["a", "b", "c"], [0.5, 0.5, 2])
    assert (found.value, found.n) == (pytest.approx(1 / 3), 3)
    assert ratio([1, 1, 1], [1, 0, 1], ["a", "b", "c"], [0.5, 2, 0.5]).value == pytest.approx(1 / 3)
    assert difference([1, 1, 1], [1, 0, 1], ["a", "b", "c"], [0.5, 2, 0.5]).value == pytest.approx(-2 / 3)


def test_equal_weights_change_nothing() -> None:
    values, ones = zeros_and_ones(20), [1.0] * 64
    assert mean(values, PROMPTS, ones) == mean(values, PROMPTS)
    assert ratio(ones, values, PROMPTS, ones) == ratio(ones, values, PROMPTS)


@pytest.mark.parametrize(("many", "few"), [(0.9, 0.5), (0.98, 0.9)])
def test_a_weighted_mean_of_two_groups_is_covered(many: float, few: float) -> None:
    """60 prompts of one concept and 20 of another, which count the same: 95% intervals contain the mean of the two."""
    draw = random.Random(0)
    weights = [80 / 2 / 60] * 60 + [80 / 2 / 20] * 20
    prompts = [str(number) for number in range(80)]
    truth, simulations = (many + few) / 2, 150
    covered = 0
    for _ in range(simulations):
        values = [float(draw.random() < share) for share in [many] * 60 + [few] * 20]
        figure = mean(values, prompts, weights)
        covered += figure.low <= truth <= figure.high
    assert covered / simulations >= 0.9


def test_every_image_weighs_the_same() -> None:
    assert mean([1, 1, 1, 0], ["a", "a", "a", "b"]).value == 0.75
    assert difference([0, 0, 0, 0], [1, 1, 1, 0], ["a", "a", "a", "b"]).value == 0.75


@pytest.mark.parametrize("repeats", [1, 4])
def test_if_nothing_differs_the_interval_is_that_of_0_of_n(repeats: int) -> None:
    same, prompts = zeros_and_ones(64) * repeats, PROMPTS * repeats
    bound = proportion(0, 64, method="exact").high
    for figure in (difference(same, same, prompts), ratio(same, same, prompts)):
        assert figure.n == 64
        assert figure.low == pytest.approx(figure.value - bound, abs=0.004)
    assert difference(same, same, prompts).high == pytest.approx(bound, abs=0.004)
    assert mean([0.0] * len(prompts), prompts).high == pytest.approx(bound, abs=0.004)


def test_a_difference_of_a_few_in_one_direction_does_not_end_at_its_value() -> None:
    figure = difference(zeros_and_ones(64), zeros_and_ones(60), PROMPTS)
    assert figure.low < figure.value == -4 / 64 < figure.high < 0.02


def test_paired_images_tell_more_than_independent_ones() -> None:
    before, after = zeros_and_ones(32), zeros_and_ones(18)
    unpaired = after[::-1]
    assert width(difference(before, after, PROMPTS)) < width(difference(before, unpaired, PROMPTS))


def test_a_ratio_over_nothing_is_undefined() -> None:
    figure = ratio([0.0] * 64, zeros_and_ones(3), PROMPTS)
    assert math.isnan(figure.value) and math.isnan(figure.low) and figure.n == 64


def test_a_ratio_over_a_few_is_wide_and_finite() -> None:
    figure = ratio(zeros_and_ones(3), zeros_and_ones(40)[::-1], PROMPTS)
    assert 0 < figure.low < figure.value < figure.high < math.inf


@pytest.mark.parametrize("figure", [mean([], []), difference([], [], []), ratio([], [], [])])
def test_of_no_image_everything_is_undefined(figure: Figure) -> None:
    assert figure.json() == {"value": None, "n": 0, "low": None, "high": None}


def test_unbounded_values_have_an_interval_only_if_enough_prompts_differ() -> None:
    nats = [2 + number / 64 for number in range(64)]
    of_64 = mean(nats, PROMPTS, shares=False)
    assert of_64.low < of_64.value < of_64.high
    few = mean(nats[:9], PROMPTS[:9], shares=False)
    assert few.value == pytest.approx(sum(nats[:9]) / 9) and math.isnan(few.low) and math.isnan(few.high)


def test_values_that_happen_to_be_in_0_to_1_are_no_shares() -> None:
    """Cosines that differ by hundredths differ; nats below 1 have no exact interval."""
    cosines = [0.2 + number / 1000 for number in range(64)]
    higher = [cosine + 0.02 + number / 10000 for number, cosine in enumerate(cosines)]
    figure = difference(cosines, higher, PROMPTS, shares=False)
    assert 0.02 < figure.low < figure.high < 0.03
    assert math.isnan(mean([0.1] * 64, PROMPTS, shares=False).low)


def test_lists_of_other_lengths_and_values_that_were_not_measured_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values but 1 prompts"):
        mean([0, 1], ["a"])
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        mean([0, 1.5], ["a", "b"])
    with pytest.raises(ValueError, match="was not measured"):
        difference([0, 1], [math.nan, 1], ["a", "b"])


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("abcdefghijklmnopqrst"), st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_the_interval_holds_the_value_whatever_the_order_of_rows(rows: list[tuple[str, float, float]]) -> None:
    shuffled = random.Random(0).sample(rows, len(rows))
    for measure in (mean, difference, ratio):
        figures = []
        for prompts, before, after in (zip(*rows, strict=True), zip(*shuffled, strict=True)):
            columns = (before, prompts) if measure is mean else (before, after, prompts)
            figures.append(measure(*columns))
        of_rows, of_shuffled = figures
        assert of_rows.n == of_shuffled.n == len({prompt for prompt, _, _ in rows})
        if math.isnan(of_rows.value):
            continue
        assert of_rows.low - 1e-9 <= of_rows.value <= of_rows.high + 1e-9
        shuffled_figures = [of_shuffled.value, of_shuffled.low, of_shuffled.high]
        assert shuffled_figures == pytest.approx([of_rows.value, of_rows.low, of_rows.high], rel=1e-6)


@pytest.mark.parametrize("measure", [difference, ratio])
def test_seeds_are_levels_and_not_sample_size(measure: Callable[..., Figure]) -> None:
    before = zeros_and_ones(60)
    one_seed = measure(before, zeros_and_ones(20), PROMPTS)
    after = [value for seed in range(3) for value in zeros_and_ones(20 + seed)]
    pooled = measure(before * 3, after, PROMPTS * 3)
    assert pooled.n == 64
    assert width(pooled) > 0.9 * width(one_seed)


def test_probabilities_near_0_hide_rare_high_values() -> None:
    """They all differ, but resampling cannot know of the values that these prompts lack."""
    values = [0.003 + number / 1e5 for number in range(100)]
    figure = mean(values, [str(number) for number in range(100)])
    assert figure.low <= figure.value < 0.005 and figure.high > 0.03
