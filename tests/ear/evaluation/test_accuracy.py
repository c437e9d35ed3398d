import pytest
from hypothesis import given
from hypothesis import strategies as st

from ear.evaluation.accuracy import pooled, proportion, share


def test_the_papers_church_figure_has_its_interval() -> None:
    figure = proportion(9, 84)
    assert (round(figure.low, 3), round(figure.high, 3)) == (0.057, 0.191)


def test_a_share_carries_its_size_and_interval() -> None:
    figure = share([True, True, False, True])
    assert figure.json() == {
        "value": 0.75,
        "n": 4,
        "low": pytest.approx(0.3006, abs=1e-4),
        "high": pytest.approx(0.9544, abs=1e-4),
    }
    assert str(share([False] * 64)) == "0.000 [0.000, 0.057] of 64"


def test_of_nothing_nothing_is_known() -> None:
    assert share([]).json() == {"value": 0.0, "n": 0, "low": 0.0, "high": 1.0}


@given(n=st.integers(1, 5000), data=st.data())
def test_the_interval_holds_the_share_and_stays_a_share(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    figure = proportion(hits, n)
    assert 0 <= figure.low <= figure.value <= figure.high <= 1


def test_figures_pool_their_pictures() -> None:
    assert pooled([share([True]), share([False] * 3)]) == share([True, False, False, False])
