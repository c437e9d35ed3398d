import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core.figures import Figure, kappa, proportion


def test_the_church_figure_of_the_paper_has_its_interval() -> None:
    figure = proportion(9, 84)
    assert (round(figure.low, 3), round(figure.high, 3)) == (0.057, 0.191)


def test_json_has_value_size_and_interval() -> None:
    assert proportion(3, 4).json() == {
        "value": 0.75,
        "n": 4,
        "low": pytest.approx(0.3006, abs=1e-4),
        "high": pytest.approx(0.9544, abs=1e-4),
    }


def test_a_proportion_of_nothing_is_undefined() -> None:
    assert proportion(0, 0).json() == {"value": None, "n": 0, "low": None, "high": None}


def test_text_shows_the_interval() -> None:
    assert str(proportion(0, 64)) == "0.000 [0.000, 0.057] of 64"
    assert str(Figure(math.nan, 3, math.nan, math.nan)) == "undefined, of 3"
    assert str(Figure(2.5, 3, math.nan, math.nan)) == "2.500 of 3, without an interval"


@given(n=st.integers(1, 5000), data=st.data())
def test_the_interval_contains_the_value(n: int, data: st.DataObject) -> None:
    figure = proportion(data.draw(st.integers(0, n)), n)
    assert 0 <= figure.low <= figure.value <= figure.high <= 1


def test_the_exact_interval_of_none_of_20_is_the_textbooks() -> None:
    figure = proportion(0, 20, method="exact")
    assert (figure.value, figure.low, round(figure.high, 4)) == (0, 0, 0.1684)  # 1 - 0.025 ** (1 / 20)
    assert proportion(0, 0, method="exact").json()["value"] is None


def test_kappa_of_three_labels_worked_by_hand() -> None:
    # 20 of each label; 45 alike, 15 by the second one label further: 0.75 alike, 1/3 by chance.
    first = ["concept"] * 20 + ["surrogate"] * 20 + ["nothing"] * 20
    second = first[5:] + first[:5]
    figure = kappa(first, second)
    assert figure.value == pytest.approx((0.75 - 1 / 3) / (1 - 1 / 3)) and figure.n == 60
    assert 0.4 < figure.low < figure.value < figure.high < 0.8
    assert kappa(second, first) == figure


def test_kappa_of_perfect_agreement_has_an_interval() -> None:
    labels = ["concept", "nothing"] * 32
    figure = kappa(labels, labels)
    share = proportion(64, 64, method="exact")
    assert (figure.value, figure.high) == (1, 1) and figure.low == pytest.approx(2 * share.low - 1)


def test_kappa_is_undefined_without_labels_or_with_one_label_only() -> None:
    assert kappa([], []).json() == {"value": None, "n": 0, "low": None, "high": None}
    assert kappa(["a", "a"], ["a", "a"]).json() == {"value": None, "n": 2, "low": None, "high": None}


def test_kappa_of_lists_of_other_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="2 labels by the first rater but 1 by the second"):
        kappa(["a", "b"], ["a"])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), max_size=60))
def test_kappa_does_not_depend_on_who_is_first(labels: list[tuple[str, str]]) -> None:
    first, second = [a for a, _ in labels], [b for _, b in labels]
    figure = kappa(first, second)
    assert figure.json() == kappa(second, first).json()
    assert math.isnan(figure.value) or -1 <= figure.low <= figure.value <= figure.high <= 1
