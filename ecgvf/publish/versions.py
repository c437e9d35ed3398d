"""The versions of a repository, and the changes from one to another."""

from dataclasses import dataclass
from typing import Any

from ecgvf.core.changes import changes
from ecgvf.core.errors import DatasetError
from ecgvf.core.files import JSON
from ecgvf.publish.catalogue import ConceptFacts, Version
from ecgvf.publish.dataset_folder import DatasetFolder
from ecgvf.publish.repository import open_repository, version_numbers, version_tags

PROMPTS = ("record_id", "target", "surrogate")
SCORES = ("target_score", "surrogate_score")
VERDICTS = ("split", "reason", "target_present", "surrogate_present", *SCORES, "judge_hash")

TOLERANCE = 1e-4
"""Scores that differ by less are equal: the same judge rounds differently in other batches."""


@dataclass(frozen=True, slots=True)
class TaggedVersion:
    """A version of a repository."""

    version: str
    commit: str
    entry: Version | None
    """Its entry in ``ecgvf.json``; None for a tag made by hand."""


def list_versions(repo: str) -> list[TaggedVersion]:
    """The tags vX.Y.Z of ``repo``, newest first. Raises ``HubError``, ``DatasetError`` if ``repo`` does not exist."""
    tags = version_tags(repo)
    entries = {entry.version: entry for entry in open_repository(repo).catalogue.versions}
    newest_first = sorted(tags, key=version_numbers, reverse=True)
    return [TaggedVersion(version, tags[version], entries.get(version)) for version in newest_first]


@dataclass(frozen=True, slots=True)
class ConceptDiff:
    """The changes of one concept."""

    concept: str
    added: list[JSON]
    """Records only of the second version: record_id, target, surrogate, split, and the reason if rejected."""
    removed: list[JSON]
    rejudged: list[JSON]
    """Records with another verdict, decision or split: record_id, target, surrogate, and both: before, after."""
    settings: list[str]
    """"setting: old → new"."""

    @property
    def equal(self) -> bool:
        """Whether there are no changes."""
        return not (self.added or self.removed or self.rejudged or self.settings)


def diff(before: DatasetFolder, after: DatasetFolder, concept: str | None = None) -> list[ConceptDiff]:
    """The changes from ``before`` to ``after`` per concept, or in ``concept`` alone. Raises ``DatasetError``."""
    old, new = before.catalogue().concepts, after.catalogue().concepts
    names = sorted(old.keys() | new.keys())
    if concept is not None and concept not in names:
        raise DatasetError(f"neither has a concept {concept!r}: they have {', '.join(names) or 'none'}")
    return [
        ConceptDiff(
            name,
            *_diff_records(_records(before, old.get(name)), _records(after, new.get(name))),
            settings=_diff_settings(old[name], new[name]) if name in old and name in new else [],
        )
        for name in ([concept] if concept is not None else names)
    ]


def _records(folder: DatasetFolder, facts: ConceptFacts | None) -> dict[str, JSON]:
    configs = facts.configs if facts is not None else []
    return {row["record_id"]: row for config in configs for row in folder.rows(config.name, (*PROMPTS, *VERDICTS))}


def _diff_records(before: dict[str, JSON], after: dict[str, JSON]) -> tuple[list[JSON], list[JSON], list[JSON]]:
    """Records added, removed, and judged anew."""
    rejudged = []
    for record_id in sorted(before.keys() & after.keys()):
        old, new = ({column: rows[record_id].get(column) for column in VERDICTS} for rows in (before, after))
        if not all(_same(column, old[column], new[column]) for column in VERDICTS):
            prompts = {column: after[record_id][column] for column in PROMPTS}
            rejudged.append({**prompts, "before": old, "after": new})
    return (
        [_summary(after[record_id]) for record_id in sorted(after.keys() - before.keys())],
        [_summary(before[record_id]) for record_id in sorted(before.keys() - after.keys())],
        rejudged,
    )


def _same(column: str, old: Any, new: Any) -> bool:
    return old == new or (column in SCORES and None not in (old, new) and abs(old - new) < TOLERANCE)


def _summary(row: JSON) -> JSON:
    return {**{column: row[column] for column in PROMPTS}, "split": row["split"], "reason": row.get("reason")}


def _diff_settings(*versions: ConceptFacts) -> list[str]:
    names = {"model", "renderer", "judge", "judge_hash", "rule", "images", "concept"}
    old, new = ({**facts.settings, **facts.model_dump(include=names)} for facts in versions)
    return [f"{key}: {before} → {after}" for key, before, after in changes(old, new)]
