"""The progress of a suite in one line."""

from pathlib import Path

import pytest

from ear.suite import view
from ear.suite.view import SuiteView
from tests.ear.suite.small_suite import cell_result, keep, small_suite


def test_the_summary_counts_cells_and_estimates_the_time_left_by_the_mean_of_the_finished_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(view.time, "monotonic", lambda: now)
    suite = small_suite(tmp_path, concepts=("church", "castle", "cat", "van-gogh"))
    shown = SuiteView(suite)
    castle, cat, van_gogh = shown.missing[1:]
    assert shown.summary() == "0 of 4 cells done; time left unknown until a cell is done; $0.00 spent on LLMs"
    keep(suite, cell_result(0, 0, 0), seconds=60)
    shown = SuiteView(suite)
    assert shown.missing == [castle, cat, van_gogh]
    assert shown.summary() == "1 of 4 cells done; about 3 min 00 s left; $0.00 spent on LLMs"
    shown.start(castle)
    now += 20
    assert shown.summary() == "1 of 4 cells done, 1 running; about 2 min 40 s left; $0.00 spent on LLMs"
    now += 100
    shown.end(castle, None)  # after 120 s: the mean is 90 s
    assert shown.summary() == "2 of 4 cells done; about 3 min 00 s left; $0.00 spent on LLMs"
    shown.start(cat)
    shown.end(cat, "no judge")
    assert shown.summary() == "2 of 4 cells done, 1 failed; about 1 min 30 s left; $0.00 spent on LLMs"
    shown.start(van_gogh)
    now += 90
    shown.end(van_gogh, None)
    assert shown.summary() == "3 of 4 cells done, 1 failed; nothing left to do; $0.00 spent on LLMs"


def test_a_cell_that_ends_while_the_live_table_is_drawn_does_not_disturb_it(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, concepts=("church", "castle", "cat", "van-gogh"))
    keep(suite, cell_result(0, 0, 0))
    shown = SuiteView(suite)
    castle, cat, van_gogh = shown.missing
    for _ in shown.seconds.items():
        shown.end(castle, None)
    shown.end(cat, "no judge")
    for _ in shown.failed.items():
        shown.end(van_gogh, "no pair")
    assert shown.failed == {cat: "no judge", van_gogh: "no pair"} and castle in shown.seconds
