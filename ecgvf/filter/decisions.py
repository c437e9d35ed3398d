"""What people decided about records, in ``STORE/<concept>/review/decisions.jsonl``: lines are added, never changed.

A decision is about one record as it was drawn: by one model, with one sampling, from one seed, in whichever set. Of one
reviewer the last decision counts; of several, more votes on one side than on the other. A tie leaves it to the judge.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ecgvf.core.files import append_line
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES

FOLDER = "review"

Votes = dict[str, dict[str, bool]]
"""Record id → reviewer → whether they accept it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One line. ``accepted`` None takes an earlier decision of the same reviewer back."""

    time: str
    """ISO 8601, UTC."""
    reviewer: str
    pictures: str
    """Fingerprint of the set of pictures that was looked at."""
    record_id: str
    accepted: bool | None


def file_of(run: ConceptRun) -> Path:
    """Where the decisions on a concept are kept."""
    return run.store.folder(run.concept.name, FOLDER) / "decisions.jsonl"


def append(run: ConceptRun, *, reviewer: str, pictures: str, record_id: str, accepted: bool | None) -> None:
    """Add one decision, through to the disk."""
    decision = Decision(
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        reviewer=reviewer,
        pictures=pictures,
        record_id=record_id,
        accepted=accepted,
    )
    append_line(file_of(run), json.dumps(asdict(decision), ensure_ascii=True).encode())


def read(run: ConceptRun) -> Iterator[Decision]:
    """All decisions, oldest first; a line that a kill cut short, or that says something else, is skipped."""
    file = file_of(run)
    for line in file.read_bytes().splitlines() if file.is_file() else []:
        try:
            decision = Decision(**json.loads(line))
        except (ValueError, TypeError):
            continue
        texts = (decision.time, decision.reviewer, decision.pictures, decision.record_id)
        if all(isinstance(text, str) for text in texts) and isinstance(decision.accepted, bool | None):
            yield decision


def votes(run: ConceptRun, pictures: str) -> Votes:
    """What each reviewer last said of each record of a set of pictures, in whichever set they saw the same picture."""
    said: Votes = {}
    same = _same(run, pictures)
    for decision in read(run):
        if decision.pictures in same:
            by = said.setdefault(decision.record_id, {})
            by.pop(decision.reviewer, None)
            if decision.accepted is not None:
                by[decision.reviewer] = decision.accepted
    return {record_id: by for record_id, by in said.items() if by}


def _same(run: ConceptRun, pictures: str) -> set[str]:
    """The sets in which a record has the same picture as in this one: equal but for the pairs that they are of."""
    drawn = {
        one.fingerprint: {key: value for key, value in one.settings.items() if key not in ("pairs", "gathered")}
        for one in run.sets(IMAGES)
    }
    return {pictures} | {name for name, how in drawn.items() if how == drawn.get(pictures)}


def rulings(said: Votes) -> dict[str, bool]:
    """Record id → what the reviewers decided together; a tie is left out."""
    counted = {record_id: 2 * sum(by.values()) - len(by) for record_id, by in said.items()}
    return {record_id: balance > 0 for record_id, balance in counted.items() if balance}


def fingerprint(ruled: dict[str, bool]) -> str:
    """12 hex digits of what was decided together; part of an acceptance set's settings."""
    return hashlib.sha256(json.dumps(sorted(ruled.items())).encode()).hexdigest()[:12]
