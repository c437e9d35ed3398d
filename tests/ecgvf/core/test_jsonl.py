"""Lines of JSON are read past damage, and with what a newer version added."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from ecgvf.core import jsonl
from ecgvf.core.openings import Opening
from ecgvf.filter.decisions import Decision
from ecgvf.review.labels import Label

RECORDS = [
    Opening(date="2026-01-01", dataset="d", adapter="a", recipe="r", versions={"ecgvf": "1"}),
    Decision(time="2026-01-01", reviewer="ada", pictures="p", record_id="i", accepted=True),
    Label(time="2026-01-01", reviewer="ada", id="i", condition="c", seed=3, image="hash", label="concept"),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_line_with_a_field_of_a_newer_version_counts(record: Any, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    assert jsonl.read(type(record), file) == []
    lines = [asdict(record), asdict(record) | {"of_a_newer_version": [1]}]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert jsonl.read(type(record), file) == [record, record]


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    count: int


@pytest.mark.parametrize(
    "line",
    [b"", b'{"name": "a", "cou', b"[1]", b'{"name": "a"}', b'{"name": 1, "count": 1}', b'{"name": "a", "count": true}'],
)
def test_a_line_that_is_no_record_is_skipped(line: bytes) -> None:
    assert jsonl.parse(_Line, [line, b'{"name": "a", "count": 1}']) == [_Line("a", 1)]


def test_objects_skip_what_was_cut_short() -> None:
    assert list(jsonl.objects(b'\n{"a": 1}\n\n{"a": \xff\n[]\n{"a": "\xe2')) == [{"a": 1}]
