"""Who looked at the test split, and when: ``STORE/<concept>/test_openings.jsonl``; lines are appended, never changed.

A choice that is made after the test split was opened is no longer blind. Every report counts the openings, and they are
published with the dataset, but nothing depends on them: no fingerprint, nor whether a push has something to do.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ecgvf.core import jsonl
from ecgvf.core.files import append_line, require_local
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import versions

FILE = "test_openings.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One line: a measurement on the test split."""

    date: str
    """ISO 8601, UTC."""
    dataset: str
    """Fingerprint of the dataset."""
    adapter: str
    """Hash of what was measured."""
    recipe: str
    versions: Mapping[str, str]
    """Package → version."""


def openings_file(run: ConceptRun) -> Path:
    """Path of the openings of a concept's test split."""
    return run.store.root / run.concept.name / FILE


def record(run: ConceptRun, *, dataset: str, adapter: str, recipe: str) -> None:
    """Append one opening and flush it to the disk. Raises ``StoreError`` on object storage."""
    require_local(openings_file(run), "the record of who opened the test split")
    run.store.create()
    opening = Opening(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        dataset=dataset,
        adapter=adapter,
        recipe=recipe,
        versions=versions(),
    )
    append_line(openings_file(run), _line(opening).encode())


def openings(run: ConceptRun) -> list[Opening]:
    """The openings of a concept's test split, oldest first."""
    return jsonl.read(Opening, openings_file(run))


def parse(content: bytes) -> list[Opening]:
    """The openings in the content of a file (``jsonl.read``)."""
    return jsonl.parse(Opening, content.splitlines())


def from_json(lines: Iterable[Mapping[str, Any]]) -> list[Opening]:
    """The openings of which ``lines`` hold the fields; what is no opening is skipped."""
    return jsonl.parse(Opening, (json.dumps(line).encode() for line in lines))


def merge(*sources: Iterable[Opening]) -> list[Opening]:
    """All openings of several files, oldest first; one that is in two files was copied, and is kept once."""
    by_line = {_line(opening): opening for source in sources for opening in source}
    return [by_line[line] for line in sorted(by_line, key=lambda line: (by_line[line].date, line))]


def text(openings: Iterable[Opening]) -> bytes:
    """The content of a file with ``openings``."""
    return "".join(f"{_line(opening)}\n" for opening in openings).encode()


def _line(opening: Opening) -> str:
    return json.dumps(asdict(opening), sort_keys=True)
