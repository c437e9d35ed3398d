"""What people decided about records, in ``STORE/<concept>/review/decisions.jsonl``: lines are added, never changed.

A decision is about one record as it was drawn: by one model, with one sampling, from one seed, in whichever set. Of one
reviewer the last decision counts; of several, more votes on one side than on the other. A tie leaves it to the judge.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ecgvf.store import PICTURES, Store

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


def file_of(store: Store, concept: str) -> Path:
    """Where the decisions on a concept are kept."""
    return store.folder(concept, FOLDER) / "decisions.jsonl"


def append(store: Store, concept: str, *, reviewer: str, pictures: str, record_id: str, accepted: bool | None) -> None:
    """Add one decision, through to the disk."""
    decision = Decision(
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        reviewer=reviewer,
        pictures=pictures,
        record_id=record_id,
        accepted=accepted,
    )
    file = file_of(store, concept)
    file.parent.mkdir(parents=True, exist_ok=True)
    # The leading newline keeps a line that a kill cut short from swallowing this one.
    with file.open("ab") as log:
        log.write(b"\n" + json.dumps(asdict(decision), ensure_ascii=True).encode() + b"\n")
        log.flush()
        os.fsync(log.fileno())


def read(store: Store, concept: str) -> Iterator[Decision]:
    """All decisions, oldest first; a line that a kill cut short, or that says something else, is skipped."""
    file = file_of(store, concept)
    for line in file.read_bytes().splitlines() if file.is_file() else []:
        try:
            decision = Decision(**json.loads(line))
        except (ValueError, TypeError):
            continue
        texts = (decision.time, decision.reviewer, decision.pictures, decision.record_id)
        if all(isinstance(text, str) for text in texts) and isinstance(decision.accepted, bool | None):
            yield decision


def votes(store: Store, concept: str, pictures: str) -> Votes:
    """What each reviewer last said of each record of a set of pictures, in whichever set they saw the same picture."""
    said: Votes = {}
    same = _same(store, concept, pictures)
    for decision in read(store, concept):
        if decision.pictures in same:
            by = said.setdefault(decision.record_id, {})
            by.pop(decision.reviewer, None)
            if decision.accepted is not None:
                by[decision.reviewer] = decision.accepted
    return {record_id: by for record_id, by in said.items() if by}


def _same(store: Store, concept: str, pictures: str) -> set[str]:
    """The sets in which a record has the same picture as in this one: equal but for the pairs that they are of."""
    drawn = {
        one.fingerprint: {key: value for key, value in one.settings.items() if key not in ("pairs", "gathered")}
        for one in store.sets(concept, PICTURES)
    }
    return {pictures} | {name for name, how in drawn.items() if how == drawn.get(pictures)}


def rulings(said: Votes) -> dict[str, bool]:
    """Record id → what the reviewers decided together; a tie is left out."""
    counted = {record_id: 2 * sum(by.values()) - len(by) for record_id, by in said.items()}
    return {record_id: balance > 0 for record_id, balance in counted.items() if balance}


def fingerprint(ruled: dict[str, bool]) -> str:
    """12 hex digits of what was decided together; part of an acceptance set's settings."""
    return hashlib.sha256(json.dumps(sorted(ruled.items())).encode()).hexdigest()[:12]
