"""Reviewers' decisions, in ``STORE/<concept>/review/decisions.jsonl``: lines are appended, never changed.

A decision is about one record's images, which several sets may share (same model, sampling and seed). The last decision
of a reviewer is their vote. The majority of votes decides; a tie leaves the record to the judge.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from ecgvf.core import jsonl
from ecgvf.core.files import append_line, require_local
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, StageSet

FOLDER = "review"

Votes = dict[str, dict[str, bool]]
"""Record id → reviewer → whether they accept it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One line. ``accepted`` None withdraws an earlier decision of the same reviewer."""

    time: str
    """ISO 8601, UTC."""
    reviewer: str
    pictures: str
    """Fingerprint of the image set that was reviewed."""
    record_id: str
    accepted: bool | None


def decisions_file(run: ConceptRun) -> Path:
    """Path of the decisions on a concept."""
    return run.store.folder(run.concept.name, FOLDER) / "decisions.jsonl"


def check_writable(run: ConceptRun) -> None:
    """Raise ``StoreError`` on object storage, where decisions cannot be appended."""
    require_local(decisions_file(run), "decisions of several reviewers")


def append(run: ConceptRun, *, reviewer: str, pictures: str, record_id: str, accepted: bool | None) -> None:
    """Append one decision and flush it to the disk. Raises ``StoreError`` on object storage."""
    check_writable(run)
    decision = Decision(
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        reviewer=reviewer,
        pictures=pictures,
        record_id=record_id,
        accepted=accepted,
    )
    append_line(decisions_file(run), json.dumps(asdict(decision), ensure_ascii=True).encode())


def read(run: ConceptRun) -> list[Decision]:
    """All decisions, oldest first (``jsonl.read``)."""
    return jsonl.read(Decision, decisions_file(run))


def votes(run: ConceptRun, pictures: str) -> Votes:
    """The votes on the image set ``pictures`` (a fingerprint), including those cast on other sets with its images."""
    sets = _sets_of_same_settings(run, pictures)
    seeds = cache(lambda name: _own_seeds(sets[name]))

    def is_about_same_images(decision: Decision) -> bool:
        name, record_id = decision.pictures, decision.record_id
        return name == pictures or (name in sets and seeds(name).get(record_id) == seeds(pictures).get(record_id))

    found: Votes = {}
    for decision in read(run):
        if is_about_same_images(decision):
            by_reviewer = found.setdefault(decision.record_id, {})
            by_reviewer.pop(decision.reviewer, None)
            if decision.accepted is not None:
                by_reviewer[decision.reviewer] = decision.accepted
    return {record_id: by_reviewer for record_id, by_reviewer in found.items() if by_reviewer}


def majority(votes: Votes) -> dict[str, bool]:
    """Record id → whether most of its votes accept it; a tie is left out."""
    balances = {record_id: 2 * sum(by.values()) - len(by) for record_id, by in votes.items()}
    return {record_id: balance > 0 for record_id, balance in balances.items() if balance}


def fingerprint(reviewed: dict[str, bool]) -> str:
    """12 hex digits of the reviewers' decisions; part of an acceptance set's settings."""
    return hashlib.sha256(json.dumps(sorted(reviewed.items())).encode()).hexdigest()[:12]


def _sets_of_same_settings(run: ConceptRun, pictures: str) -> dict[str, StageSet]:
    """The image sets, by fingerprint, that differ from ``pictures`` only in the pairs that they render."""
    sets = {images.fingerprint: images for images in run.sets(IMAGES)}
    settings = {
        name: {key: value for key, value in images.settings.items() if key not in ("pairs", "gathered")}
        for name, images in sets.items()
    }
    return {name: images for name, images in sets.items() if settings[name] == settings.get(pictures)}


def _own_seeds(images: StageSet) -> dict[str, int]:
    """Record id → the seed that its pair states, which neither the id nor the settings of ``images`` contain."""
    rows = [row for table in images.source(PAIRS).tables(["record_id", "seed"]) for row in table.to_pylist()]
    return {row["record_id"]: row["seed"] for row in rows if row["seed"] is not None}
