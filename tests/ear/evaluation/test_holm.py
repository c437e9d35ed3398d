"""Bounds: what intervals show about the worst of many concepts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ear.evaluation.holm import can_miss, holm, holm_tests

PROMPTS = [f"prompt {number}" for number in range(100)]
Columns = tuple[list[float], list[float], list[str]]


def kept(share: float) -> Columns:
    """A concept that every image showed before, and ``share`` of them after."""
    ones = round(100 * share)
    return [1.0] * 100, [1.0] * ones + [0.0] * (100 - ones), PROMPTS


def test_the_worst_concept_comes_first_and_each_has_its_decision() -> None:
    found = holm_tests(
        {"dog": kept(0.99), "absent": ([0.0] * 100, [0.0] * 100, PROMPTS), "house": kept(0.4), "cat": kept(0.85)},
        at_least=0.8,
    )
    assert list(found) == ["house", "cat", "dog", "absent"]
    assert [test.status for test in found.values()] == ["missed", "not shown", "met", "not measured"]
    assert found["dog"].p_value < 0.025 < found["cat"].p_value and math.isnan(found["absent"].p_value)
    assert found["house"].ratio.value == pytest.approx(0.4)


def test_one_concept_passes_where_the_same_among_many_does_not() -> None:
    alone = holm_tests({"0": kept(0.93)}, at_least=0.86)
    among_many = holm_tests({str(number): kept(0.93) for number in range(30)}, at_least=0.86)
    assert alone["0"].status == "met"
    assert {test.status for test in among_many.values()} == {"not shown"}


def test_of_few_prompts_no_loss_can_be_shown() -> None:
    def shown(prompts: int) -> tuple[list[float], list[float], list[str]]:
        return [1.0] * prompts, [1.0] * prompts, PROMPTS[:prompts]

    assert can_miss({"five": shown(5)}) == set()  # 1/32 is above 0.025
    assert can_miss({"six": shown(6), "five": shown(5)}) == set()  # two tests: 2/64
    assert can_miss({"six": shown(6)}) == {"six"}
    assert can_miss({"eight": shown(8), "five": shown(5)}) == {"eight"}
    assert can_miss({"never": ([0.0] * 100, [0.0] * 100, PROMPTS)}) == set()
    large = {str(number): shown(60) for number in range(9)}
    assert can_miss({**large, "six": shown(6)}) == {*large}  # ten tests: 10/64, unless others are lost as well
    # What cannot be missed is not missed, whatever is lost.
    lost = {"five": ([1.0] * 5, [0.0] * 5, PROMPTS[:5])}
    assert holm_tests(lost, at_least=1.0)["five"].status == "not shown"


def test_values_outside_0_to_1_are_not_tested() -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        holm_tests({"a": ([2.0] * 100, [2.0] * 100, PROMPTS)}, at_least=0.9)


def test_holm_of_a_table_worked_by_hand() -> None:
    # 3 x 0.01; 2 x 0.02; then 1 x 0.03 would fall below the one before it.
    assert holm({"a": 0.03, "b": 0.01, "c": 0.02}) == pytest.approx({"b": 0.03, "c": 0.04, "a": 0.04})
    assert holm({}) == {}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_keeps_the_order_and_never_lowers_a_p_value(p_values: list[float]) -> None:
    named = {str(number): p for number, p in enumerate(p_values)}
    adjusted = holm(named)
    assert all(named[name] <= adjusted[name] <= 1 for name in named)
    assert min(adjusted.values()) == pytest.approx(min(1, len(p_values) * min(p_values)))
    in_order = [adjusted[name] for name in sorted(named, key=lambda name: named[name])]
    assert in_order == sorted(in_order)
