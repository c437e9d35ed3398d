"""Somebody's pairs enter the store as if a writer had written them: to be drawn, judged and published like any others.

People's pairs differ more than a writer's, so what ``generate`` would reject is a warning here. What cannot be drawn at
all (no prompt, the same pair twice) stays as a reject with its reason.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ecgvf.core.concepts import Concept, Kind
from ecgvf.core.errors import DatasetError
from ecgvf.core.records import PromptPair, Reason, Split, malformed_id, record_id, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, StageSet
from ecgvf.pairs import checks
from ecgvf.pairs.generate import SHARDS, tally
from ecgvf.pairs.parsing import LONGEST, Draft
from ecgvf.pairs.tables import Entry, Source
from ecgvf.publish.catalogue import IMPORT as WRITER

CATEGORIES: dict[Kind, str] = {"nudity": "sexual"}
"""Kind of concept → the category that I2P and CoPro file it under."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came in."""

    stage: StageSet
    left_out: int
    """Rows of other concepts."""
    warnings: dict[str, int]
    """What ``generate`` would have rejected, in words → how often."""
    examples: dict[str, str]
    """The first prompt of each warning."""


def import_pairs(run: ConceptRun, source: Source, *, only: str | None = None, licence: str | None = None) -> Imported:
    """Write the rows of ``source`` that are of ``concept`` as a finished pairs set, and make it the current one.

    Rows with a surrogate are pairs, rows without are test prompts. ``only`` names the concept as the file does; left
    out, where no row names the concept, it is the category of its kind (``CATEGORIES``). Raises ``DatasetError`` where
    no row is of the concept.
    """
    only = only or _category(run.concept, source)
    entries = _of(run.concept, source, only)
    settings: dict[str, Any] = {
        "concept": run.concept.model_dump(mode="json"),
        "writer": {"name": WRITER},
        "source": {"name": source.name, "sha256": source.sha256, "layout": source.layout, "licence": licence},
        "only": only,
        "columns": {said: list(columns) for said, columns in source.columns.items()},
    }
    run.store.remember(run.concept)
    stage = run.stage_set(PAIRS, settings)
    rows = _rows(run.concept, source, entries)
    splits: dict[Split, list[PromptPair]] = {split: [row for row in rows if row.split == split] for split in SHARDS}
    for split, shard in SHARDS.items():
        if not stage.done(shard):
            stage.write_shard(shard, to_table(PromptPair, splits[split]))
    stage.finish({"writer": WRITER, **{split: tally(of) for split, of in splits.items()}})
    warnings: Counter[str] = Counter()
    examples: dict[str, str] = {}
    trained = checks.Seen()
    for row in rows:
        if row.reason is None and row.split == "train":
            trained.add(row.target)
    for row in rows:
        for warning in _warnings(run.concept, row, trained) if row.reason is None else ():
            warnings[warning] += 1
            examples.setdefault(warning, row.target if row.surrogate is None else f"{row.target} | {row.surrogate}")
    return Imported(stage, len(source.entries) - len(entries), dict(warnings.most_common()), examples)


def concept_named(source: Source) -> str | None:
    """The one concept that all rows of ``source`` name, if there is one."""
    named = {one.concepts for one in source.entries}
    return next(iter(named))[0] if len(named) == 1 and len(next(iter(named))) == 1 else None


def _category(concept: Concept, source: Source) -> str | None:
    """The category of the concept's kind, if ``source`` has rows of it and none that name the concept."""
    said = {part.casefold() for entry in source.entries for part in entry.concepts}
    category = CATEGORIES.get(concept.kind)
    return category if category in said and not any(_names(concept, part) for part in said) else None


def _of(concept: Concept, source: Source, only: str | None) -> list[Entry]:
    """The rows of the concept: those that name it; all of a file that names none."""
    said = Counter(part for entry in source.entries for part in entry.concepts)
    if not said and only is None:
        return list(source.entries)

    def fits(part: str) -> bool:
        return _names(concept, part) if only is None else part.casefold() == only.casefold()

    found = [entry for entry in source.entries if any(fits(part) for part in entry.concepts)]
    if not found:
        most = ", ".join(repr(part) for part, _ in said.most_common(8)) or "no concept at all"
        raise DatasetError(
            f"no row of {source.name} is of {only or concept.name!r}: it names {most}; choose one with --only"
        )
    return found


def _names(concept: Concept, part: str) -> bool:
    return part.casefold().replace(" ", "-") == concept.name or concept.term_in(part) is not None


def _rows(concept: Concept, source: Source, entries: Sequence[Entry]) -> list[PromptPair]:
    call = hashlib.sha256(f"{WRITER} {source.sha256}".encode()).hexdigest()[:16]
    seen: dict[str, int] = {}
    rows = []
    for entry in entries:
        reason, detail = _against(entry)
        name = record_id(concept.name, entry.target, entry.surrogate)
        if reason is None and name in seen:
            reason, detail = "duplicate", f"the same as row {seen[name]}"
        if reason is None:
            seen[name] = entry.place
        rows.append(
            PromptPair(
                record_id=malformed_id(call, entry.place) if reason else name,
                concept=concept.name,
                kind=concept.kind,
                split="test" if entry.surrogate is None else "train",
                target=entry.target,
                surrogate=entry.surrogate,
                target_term=concept.term_in(entry.target) or "",
                surrogate_term=_surrogate_term(concept, entry),
                writer=WRITER,
                model_asked=source.name,
                model_answered=source.name,
                template=source.layout or "file",
                template_hash=source.sha256,
                iteration=0,
                call_id=call,
                reason=reason,
                detail=detail,
                source_id=entry.id,
                seed=entry.seed,
            )
        )
    return rows


def _against(entry: Entry) -> tuple[Reason | None, str | None]:
    if not entry.target:
        return "malformed", f"row {entry.place} has no prompt"
    if max(len(entry.target), len(entry.surrogate or "")) > LONGEST:
        return "malformed", f"row {entry.place} has a prompt of more than {LONGEST} characters"
    return None, None


def _surrogate_term(concept: Concept, entry: Entry) -> str | None:
    if entry.surrogate is None:
        return None
    return next((word for word in concept.surrogates if checks.names(entry.surrogate, word)), None)


def _warnings(concept: Concept, row: PromptPair, trained: checks.Seen) -> list[str]:
    """What ``generate`` would have rejected the row for; ``trained`` are the targets that training sees."""
    found = []
    if row.split == "test" and trained.like(row.target) is not None:
        found.append("the test prompt is like a training prompt")
    if max(checks.sentences(prompt) for _, prompt in row.prompts()) > checks.MOST_SENTENCES:
        found.append(f"more than {checks.MOST_SENTENCES} sentences")
    if not row.target_term:
        found.append("the target does not name the concept")
    if row.surrogate is not None:
        if concept.term_in(row.surrogate):
            found.append("the surrogate names the concept")
        draft = Draft(row.target, row.target_term, row.surrogate, row.surrogate_term or "", "")
        most = checks.MOST_CHANGED[concept.kind]
        if checks.share_changed(draft) > most:
            found.append(f"more than {most:.0%} of the other words changed")
    return found
