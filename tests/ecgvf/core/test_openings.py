"""Openings of the test split are appended, read past damage, and merged without counting one twice."""

from pathlib import Path

from ecgvf.core import openings
from ecgvf.core.concepts import find
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store


def test_each_measurement_on_test_is_a_line(tmp_path: Path) -> None:
    run = ConceptRun(Store(tmp_path / "store"), find("church"))
    assert openings.openings(run) == []
    openings.record(run, dataset="d", adapter="a", recipe="default")
    openings.record(run, dataset="d", adapter="b", recipe="default")
    file = openings.openings_file(run)
    assert file == tmp_path / "store" / "church" / "test_openings.jsonl"
    found = openings.openings(run)
    assert [(opening.dataset, opening.adapter, opening.recipe) for opening in found] == [
        ("d", "a", "default"),
        ("d", "b", "default"),
    ]
    assert found[0].date.startswith("20") and "torch" in found[0].versions


def test_a_line_that_a_kill_cut_short_is_skipped_and_swallows_no_other(tmp_path: Path) -> None:
    run = ConceptRun(Store(tmp_path / "store"), find("church"))
    openings.record(run, dataset="d", adapter="a", recipe="default")
    file = openings.openings_file(run)
    file.write_bytes(file.read_bytes()[:-9])
    openings.record(run, dataset="d", adapter="b", recipe="default")
    file.write_bytes(file.read_bytes() + b'[1]\n{"date": 1}\n')
    assert [opening.adapter for opening in openings.openings(run)] == ["b"]


def test_merged_openings_are_counted_once_and_come_back_from_a_file() -> None:
    first, second = (
        openings.Opening(date=date, dataset="d", adapter="a", recipe="default", versions={"ecgvf": "1"})
        for date in ("2026-01-02T00:00:00+00:00", "2026-01-01T00:00:00+00:00")
    )
    merged = openings.merge([first, second], [first])
    assert merged == [second, first]
    assert openings.parse(openings.text(merged)) == merged
