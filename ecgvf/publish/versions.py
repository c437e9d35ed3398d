"""The versions of a repository, and the changes from one to another."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ecgvf.core.errors import DatasetError
from ecgvf.core.files import JSON, flatten
from ecgvf.publish.catalogue import ConceptFacts, Version
from ecgvf.publish.dataset_folder import DatasetFolder
from ecgvf.publish.repository import open_repository, version_numbers, version_tags

PROMPTS = ("record_id", "target", "surrogate")
SCORES = ("target_score", "surrogate_score")
VERDICTS = ("reason", "target_present", "surrogate_present", *SCORES, "judge_hash")

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
    repository = open_repository(repo)
    entries = {entry.version: entry for entry in repository.catalogue.versions} if repository is not None else {}
    newest_first = sorted(tags, key=version_numbers, reverse=True)
    return [TaggedVersion(version, tags[version], entries.get(version)) for version in newest_first]


@dataclass(frozen=True, slots=True)
class ConceptDiff:
    """The changes of one concept."""

    concept: str
    added: list[JSON] = field(default_factory=list)
    """Records only of the second version: record_id, target, surrogate, split, and the reason if rejected."""
    removed: list[JSON] = field(default_factory=list)
    rejudged: list[JSON] = field(default_factory=list)
    """Records with another verdict or decision: record_id, target, surrogate, and both verdicts: before, after."""
    settings: list[str] = field(default_factory=list)
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
        _diff_concept(
            name, _records(before, old.get(name)), _records(after, new.get(name)), old.get(name), new.get(name)
        )
        for name in ([concept] if concept is not None else names)
    ]


def _diff_concept(
    name: str,
    before: dict[str, JSON],
    after: dict[str, JSON],
    old: ConceptFacts | None,
    new: ConceptFacts | None,
) -> ConceptDiff:
    rejudged = []
    for record_id in sorted(before.keys() & after.keys()):
        verdicts = [{column: rows[record_id].get(column) for column in VERDICTS} for rows in (before, after)]
        if not _same_verdict(*verdicts):
            prompts = {column: after[record_id][column] for column in PROMPTS}
            rejudged.append({**prompts, "before": verdicts[0], "after": verdicts[1]})
    return ConceptDiff(
        concept=name,
        added=_summaries(after, sorted(after.keys() - before.keys())),
        removed=_summaries(before, sorted(before.keys() - after.keys())),
        rejudged=rejudged,
        settings=_changed_settings(old, new) if old is not None and new is not None else [],
    )


def _same_verdict(old: JSON, new: JSON) -> bool:
    return all(
        old[column] == new[column]
        or (column in SCORES and None not in (old[column], new[column]) and abs(old[column] - new[column]) < TOLERANCE)
        for column in VERDICTS
    )


def _records(folder: DatasetFolder, facts: ConceptFacts | None) -> dict[str, JSON]:
    configs = facts.configs if facts is not None else []
    return {row["record_id"]: row for config in configs for row in folder.rows(config.name, (*PROMPTS, *VERDICTS))}


def _summaries(rows: dict[str, JSON], record_ids: Sequence[str]) -> list[JSON]:
    return [
        {
            **{column: rows[name][column] for column in PROMPTS},
            "split": rows[name]["split"],
            "reason": rows[name].get("reason"),
        }
        for name in record_ids
    ]


def _changed_settings(old: ConceptFacts, new: ConceptFacts) -> list[str]:
    before, after = _settings(old), _settings(new)
    return [
        f"{key}: {before.get(key)} → {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _settings(facts: ConceptFacts) -> JSON:
    names = {"model", "renderer", "judge", "judge_hash", "rule", "images", "concept"}
    return flatten({**facts.settings, **facts.model_dump(include=names)})
