"""How often test was opened: counted from cells, by whatever store measured them, and from the present store."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ear.evaluation.not_measured import NotMeasured
from ear.evaluation.outcomes import read_facts
from ear.suite import Cell, Suite
from ear.suite.count_openings import count_openings
from ecgvf.core import openings
from ecgvf.core.shard_set import versions
from tests.ear.evaluation.small_outcomes import evaluation
from tests.ear.suite.small_suite import cell_result, keep, small_suite

FULL = Cell("church", "paper", 0, 0, "full")


def opening(adapter: str, second: int = 0) -> dict[str, Any]:
    date = f"2026-01-01T00:00:{second:02d}+00:00"
    return {"date": date, "dataset": "d", "adapter": adapter, "recipe": "paper", "versions": {"torch": "1"}}


def test_cells_that_list_no_openings_count_as_at_least_one_each(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, figures="full")
    keep(suite, cell_result(0, 0, 3))
    keep(suite, replace(cell_result(0, 0, 3), cell=FULL))
    assert count_openings(suite) == {"church": {"count": 2, "at_least": True}, "castle": None}
    validation = small_suite(tmp_path / "validation", split="validation")
    keep(validation, cell_result(0, 0, 3))
    assert count_openings(validation)["church"] == {"count": 0, "at_least": False}


def test_a_cell_of_another_version_of_the_suite_counts_and_is_remembered_when_it_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, source = small_suite(tmp_path), cell_result(0, 0, 3)
    keep(suite, source, key="another")
    assert count_openings(suite)["church"] == {"count": 1, "at_least": True}
    found = evaluation([*source.original, *source.outcomes])
    monkeypatch.setattr(Suite, "_evaluate", lambda suite, cell: (found, suite.store / "sheet.png"))
    suite.measure(source.cell)
    assert count_openings(suite)["church"]["at_least"]
    assert read_facts(suite.file(source.cell.name))["training_dtype"] == "float32"


def test_the_present_stores_openings_are_not_counted_twice(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    keep(suite, cell_result(0, 0, 3))  # of the adapter paper-0-0
    run = suite.run("church", 0)
    for adapter in ("paper-0-0", "other"):
        openings.record(run, dataset="d", adapter=adapter, recipe="paper")
    openings.record(suite.run("castle", 0), dataset="d", adapter="a", recipe="paper")
    found = {"church": {"count": 2, "at_least": True}, "castle": {"count": 1, "at_least": False}}
    assert count_openings(suite) == found


def test_what_cells_list_is_merged_and_counts_in_a_clone_without_the_store(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, recipes=("paper", "prompt-rewrite"))
    keep(suite, cell_result(0, 0, 3), openings=[opening("a")])
    keep(suite, cell_result(0, 0, 3, "prompt-rewrite"), openings=[opening("a"), opening("b", 1)])
    assert count_openings(suite)["church"] == {"count": 2, "at_least": False}


def test_a_cell_keeps_the_openings_that_its_file_and_the_store_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, source = small_suite(tmp_path), cell_result(0, 0, 3)
    keep(suite, source, openings=[opening("earlier")], key="another")
    found = evaluation([*source.original, *source.outcomes], not_measured=(NotMeasured("rehearsed", "no reason"),))

    def evaluate(suite: Suite, cell: Cell) -> tuple[object, Path]:
        openings.record(suite.run(cell.concept, 0), dataset="d", adapter="now", recipe="paper")
        return found, suite.store / "sheet.png"

    monkeypatch.setattr(Suite, "_evaluate", evaluate)
    suite.measure(source.cell)
    facts = read_facts(suite.file(source.cell.name))
    assert [line["adapter"] for line in facts["openings"]] == ["earlier", "now"]
    assert facts["versions"] == versions() and facts["not_measured"] == ["rehearsed (no reason)"]
    assert count_openings(suite)["church"] == {"count": 2, "at_least": False}
