import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core.figures import Figure, proportion


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


@given(n=st.integers(1, 5000), data=st.data())
def test_the_interval_contains_the_value(n: int, data: st.DataObject) -> None:
    figure = proportion(data.draw(st.integers(0, n)), n)
    assert 0 <= figure.low <= figure.value <= figure.high <= 1
