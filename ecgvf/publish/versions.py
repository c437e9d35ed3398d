"""The versions of a repository, and what moved between two of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ecgvf.core.errors import DatasetError
from ecgvf.publish import hub
from ecgvf.publish.catalogue import Facts, Version
from ecgvf.publish.published import Published

JSON = dict[str, Any]

PROMPTS = ("record_id", "target", "surrogate")
SCORES = ("target_score", "surrogate_score")
JUDGED = ("reason", "target_present", "surrogate_present", *SCORES, "judge_hash")
ROUNDING = 1e-4
"""Scores that are nearer are equal: the same judge, looking in other batches, rounds otherwise."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """One version: its tag's commit, and what the repository says of it (nothing, for a tag made by hand)."""

    version: str
    commit: str
    told: Version | None


def versions(repo: str) -> list[Tagged]:
    """The tags vX.Y.Z of ``repo``, newest first. Raises ``HubError``, ``DatasetError`` where there is no ``repo``."""
    tags = hub.versions_of(repo)
    known = hub.state(repo)
    told = {one.version: one for one in known.catalogue.versions} if known is not None else {}
    newest_first = sorted(tags, key=hub.numbers, reverse=True)
    return [Tagged(version, tags[version], told.get(version)) for version in newest_first]


@dataclass(frozen=True, slots=True)
class ConceptDiff:
    """What moved in one concept."""

    concept: str
    added: list[JSON] = field(default_factory=list)
    """Records that only the second has: record_id, target, surrogate, and ``reason`` where it is rejected."""
    removed: list[JSON] = field(default_factory=list)
    rejudged: list[JSON] = field(default_factory=list)
    """Records of both whose verdict or decision differs: the same, with ``before`` and ``after``."""
    settings: list[str] = field(default_factory=list)
    """"setting: old → new"."""

    @property
    def equal(self) -> bool:
        """Whether nothing moved."""
        return not (self.added or self.removed or self.rejudged or self.settings)


def diff(before: Published, after: Published, concept: str | None = None) -> list[ConceptDiff]:
    """What moved from ``before`` to ``after``, concept by concept (or in one). Raises ``DatasetError``."""
    old, new = before.catalogue().concepts, after.catalogue().concepts
    if concept is not None and concept not in {*old, *new}:
        raise DatasetError(f"neither has a concept {concept!r}: there are {', '.join(sorted({*old, *new})) or 'none'}")
    names = [concept] if concept is not None else sorted({*old, *new})
    return [_concept(name, before, after, old.get(name), new.get(name)) for name in names]


def _concept(name: str, before: Published, after: Published, old: Facts | None, new: Facts | None) -> ConceptDiff:
    first, second = _records(before, old), _records(after, new)
    rejudged = []
    for record_id in sorted(first.keys() & second.keys()):
        verdicts = [{key: rows[record_id].get(key) for key in JUDGED} for rows in (first, second)]
        if not _same(*verdicts):
            said = {key: second[record_id][key] for key in PROMPTS}
            rejudged.append({**said, "before": verdicts[0], "after": verdicts[1]})
    return ConceptDiff(
        concept=name,
        added=[_told(second[one]) for one in sorted(second.keys() - first.keys())],
        removed=[_told(first[one]) for one in sorted(first.keys() - second.keys())],
        rejudged=rejudged,
        settings=_moved(old, new),
    )


def _same(old: JSON, new: JSON) -> bool:
    def near(key: str) -> bool:
        pair = old[key], new[key]
        return pair[0] == pair[1] or (key in SCORES and None not in pair and abs(pair[0] - pair[1]) < ROUNDING)

    return all(near(key) for key in JUDGED)


def _records(held: Published, facts: Facts | None) -> dict[str, JSON]:
    configs = facts.configs if facts is not None else []
    return {row["record_id"]: row for config in configs for row in held.rows(config.name, (*PROMPTS, *JUDGED))}


def _told(row: JSON) -> JSON:
    return {**{key: row[key] for key in PROMPTS}, "split": row["split"], "reason": row.get("reason")}


def _moved(old: Facts | None, new: Facts | None) -> list[str]:
    if old is None or new is None:
        return []
    first, second = _settings(old), _settings(new)
    return [
        f"{key}: {first.get(key)} → {second.get(key)}"
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    ]


def _settings(facts: Facts) -> JSON:
    told = {"model": facts.model, "renderer": facts.renderer, "judge": facts.judge, "judge_hash": facts.judge_hash}
    return {
        **told,
        "rule": facts.rule,
        "images": facts.images,
        **_flat(facts.settings),
        **_flat({"concept": facts.concept}),
    }


def _flat(settings: Mapping[str, Any], under: str = "") -> JSON:
    flat: JSON = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{under}{key}.") if isinstance(value, Mapping) else {f"{under}{key}": value}
    return flat
