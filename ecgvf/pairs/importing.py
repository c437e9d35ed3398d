"""Import pairs by other people, to be rendered, judged and published like any others.

Such pairs differ more than those of a writer, so most of what ``generate`` would reject only gives a warning here. A
row that cannot be rendered (no prompt, the same pair twice) stays as a reject with its reason, and so does a validation
or test prompt that is a near duplicate of a training prompt: it would measure what was trained on.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ecgvf.core import console
from ecgvf.core.concepts import Concept, Kind, name_key
from ecgvf.core.errors import DatasetError
from ecgvf.core.records import PromptPair, Reason, Split, malformed_id, record_id, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, StageSet
from ecgvf.pairs import checks
from ecgvf.pairs.captions import retained_name
from ecgvf.pairs.checks import PromptIndex
from ecgvf.pairs.parsing import MAX_PROMPT_CHARACTERS, Draft
from ecgvf.pairs.splits import SHARDS, reject_if_duplicate, tally
from ecgvf.pairs.tables import PromptRow, PromptTable
from ecgvf.pairs.wording import wording_of
from ecgvf.pairs.writer import IMPORT

CATEGORIES: dict[Kind, str] = {"nudity": "sexual"}
"""Kind of concept → its category in I2P and CoPro."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The imported set, and what to report about it."""

    stage: StageSet
    left_out: int
    """Rows of other concepts."""
    warnings: dict[str, int]
    """Fault for which ``generate`` would have rejected a record, which is kept → number of records."""
    rejected: dict[str, int]
    """Fault for which a record is rejected → number of records."""
    examples: dict[str, str]
    """Fault → the prompts of its first record, or its row."""

    def report(self) -> None:
        """Print a line per fault: a warning where the records are kept."""
        for fault, count in self.warnings.items():
            console.warn(f"{count} × {fault}, such as: {self.examples[fault]}")
        for fault, count in self.rejected.items():
            console.note(f"rejected {count} × {fault}, such as: {self.examples[fault]}")


def import_pairs(
    run: ConceptRun, table: PromptTable, *, only: str | None = None, licence: str | None = None
) -> ImportResult:
    """Write the rows of ``table`` that are about the concept as a finished pairs set, and make it current.

    A row without a stated split is a training pair if it has a surrogate, else a test prompt. ``only`` is the concept
    as the file calls it; None: the rows that name the concept, or, if there are none, the category of its kind
    (``CATEGORIES``). ``licence`` is recorded. Raises ``DatasetError`` if no row is about the concept.
    """
    only = only or _category(run.concept, table)
    rows = matching_rows(run.concept, table, only)
    settings: dict[str, Any] = {
        "concept": run.concept.model_dump(mode="json"),
        "writer": {"name": IMPORT},
        "source": {"name": table.name, "sha256": table.sha256, "layout": table.layout, "licence": licence},
        "only": only,
        "columns": {field: list(columns) for field, columns in table.columns.items()},
        "near": checks.MIN_SIMILARITY,
        "implicit": "without a term",
    }
    run.store.remember_new(run.concept)
    stage_set = run.stage_set(PAIRS, settings)
    stage_set.announce()
    imported = _to_records(run.concept, table, rows)
    valid = [record for record in imported if record.reason is None]
    training = PromptIndex(record.target for record in valid if record.split == "train")
    records = [
        reject_if_duplicate(record, training) if record.split in ("validation", "test") else record
        for record in imported
    ]
    summary: dict[str, Any] = {"writer": IMPORT}
    for split, shard in SHARDS.items():
        written = [record for record in records if record.split == split]
        if split == "retain" and not written:
            continue
        if not stage_set.done(shard):
            stage_set.write_shard(shard, to_table(PromptPair, written))
        summary[split] = tally(written)
    stage_set.finish(summary)
    run.store.remember(run.concept)
    return _result(stage_set, len(table.rows) - len(rows), imported, records, training)


def _result(
    stage_set: StageSet,
    left_out: int,
    imported: Sequence[PromptPair],
    records: Sequence[PromptPair],
    training: PromptIndex,
) -> ImportResult:
    """The result; ``records`` are those ``imported``, with near duplicates of ``training`` prompts rejected."""
    warnings: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for before, record in zip(imported, records, strict=True):
        example = " | ".join(prompt for _, prompt in record.prompts())
        if record.reason is None:
            found, faults = warnings, _warnings(stage_set.run.concept, record, training)
        elif before.reason is None:
            found, faults = rejected, [f"the {record.split} prompt is like a training prompt"]
        else:
            found, faults, example = rejected, [record.reason], str(record.detail)
        for fault in faults:
            found[fault] += 1
            examples.setdefault(fault, example)
    return ImportResult(stage_set, left_out, dict(warnings.most_common()), dict(rejected.most_common()), examples)


def named_concept(table: PromptTable) -> str | None:
    """The one concept that all rows of ``table`` name; None if they name several or none."""
    named = {row.concepts for row in table.rows}
    return next(iter(named))[0] if len(named) == 1 and len(next(iter(named))) == 1 else None


def _category(concept: Concept, table: PromptTable) -> str | None:
    """The category of the concept's kind, if ``table`` has such rows and no row names the concept."""
    named = {name.casefold() for row in table.rows for name in row.concepts}
    category = CATEGORIES.get(concept.kind)
    return category if category in named and not any(_names(concept, name) for name in named) else None


def matching_rows(concept: Concept, table: PromptTable, only: str | None = None) -> Sequence[PromptRow]:
    """The rows that are about the concept; all rows if no row names any concept.

    ``only`` as in ``import_pairs``. Raises ``DatasetError`` if there are no such rows.
    """
    only = only or _category(concept, table)
    named = Counter(name for row in table.rows for name in row.concepts)
    if not named and only is None:
        return table.rows

    def matches(name: str) -> bool:
        return _names(concept, name) if only is None else name.casefold() == only.casefold()

    if not named:
        raise DatasetError(f"{table.name} has no column of concepts: leave --only out")
    rows = [row for row in table.rows if any(map(matches, row.concepts))]
    if not rows:
        most_common = ", ".join(repr(name) for name, _ in named.most_common(8))
        raise DatasetError(
            f"no row of {table.name} is of {only or concept.name!r}: it names {most_common}; choose one with --only"
        )
    return rows


def _names(concept: Concept, name: str) -> bool:
    """Whether ``name``, as a file has it, means the concept."""
    return name_key(name) == name_key(concept.name) or concept.term_in(name) is not None


def _to_records(concept: Concept, table: PromptTable, rows: Sequence[PromptRow]) -> list[PromptPair]:
    call_id = hashlib.sha256(f"{IMPORT} {table.sha256}".encode()).hexdigest()[:16]
    first: dict[str, int] = {}
    records = []
    for row in rows:
        identity, split = record_id(concept.name, row.target, row.surrogate), _split_of(row)
        reason, detail = _rejection(concept, row, identity, first)
        retained = None
        if split == "retain" and row.retained_concept is not None:
            retained = retained_name(concept, row.retained_concept)
        records.append(
            PromptPair(
                record_id=malformed_id(call_id, row.number) if reason else identity,
                concept=concept.name,
                kind=concept.kind,
                split=split,
                target=row.target,
                surrogate=row.surrogate,
                target_term=(retained if split == "retain" else concept.term_in(row.target)) or "",
                surrogate_term=_surrogate_term(concept, row.surrogate),
                writer=IMPORT,
                model_asked=table.name,
                model_answered=table.name,
                template=table.layout or "file",
                template_hash=table.sha256,
                iteration=0,
                call_id=call_id,
                reason=reason,
                detail=detail,
                source_id=row.id,
                seed=row.seed,
                wording=wording_of(concept, row.target) if reason is None and split != "retain" else None,
                retained_concept=retained,
            )
        )
    return records


def _split_of(row: PromptRow) -> Split:
    """The split that a row states, or the one that follows from what it has."""
    if row.split is not None:
        return row.split
    if row.retained_concept is not None:
        return "retain"
    return "test" if row.surrogate is None else "train"


def _surrogate_term(concept: Concept, surrogate: str | None) -> str | None:
    if surrogate is None:
        return None
    return next((word for word in concept.surrogates if checks.contains(surrogate, word)), None)


def _rejection(
    concept: Concept, row: PromptRow, identity: str, first: dict[str, int]
) -> tuple[Reason | None, str | None]:
    """Why a row cannot be rendered: reason and detail; None if it can.

    ``first``: record id → number of the first row with it, which this adds to.
    """
    if (fault := _fault(row)) is not None:
        return "malformed", fault
    if identity in first:
        return "duplicate", f"the same as row {first[identity]}"
    first[identity] = row.number
    name = row.retained_concept
    if _split_of(row) == "retain" and name is not None and retained_name(concept, name) is None:
        return "malformed", f"row {row.number} retains {name!r}, which is erased"
    return None, None


def _fault(row: PromptRow) -> str | None:
    if not row.target:
        return f"row {row.number} has no prompt"
    if row.split == "retain" and row.retained_concept is None:
        return f"row {row.number} is of the retain split and names no retained_concept"
    if row.retained_concept is not None and row.split in (None, "retain") and row.surrogate is not None:
        return f"row {row.number} is of the retain split and has a surrogate"
    if row.split == "train" and row.surrogate is None:
        return f"row {row.number} is for training and has no surrogate"
    if max(len(row.target), len(row.surrogate or "")) > MAX_PROMPT_CHARACTERS:
        return f"row {row.number} has a prompt of more than {MAX_PROMPT_CHARACTERS} characters"
    return None


def _warnings(concept: Concept, record: PromptPair, training: PromptIndex) -> list[str]:
    """The faults for which ``generate`` would have rejected the record; ``training`` holds the training targets."""
    faults = []
    if record.split == "retain" and training.near_duplicate(record.target) is not None:
        faults.append("the retain prompt is like a training prompt")
    if max(checks.count_sentences(prompt) for _, prompt in record.prompts()) > checks.MAX_SENTENCES:
        faults.append(f"more than {checks.MAX_SENTENCES} sentences")
    if record.split == "retain" and concept.term_in(record.target):
        faults.append("the prompt of a retained concept names the concept")
    if not record.target_term:
        faults.append("the target does not name the concept")
    if record.surrogate is not None:
        if concept.term_in(record.surrogate):
            faults.append("the surrogate names the concept")
        draft = Draft(record.target, record.target_term, record.surrogate, record.surrogate_term or "")
        if checks.added_neighbour(concept, draft):
            faults.append("the surrogate names a neighbour of the concept")
        max_changed = checks.MAX_CHANGED[concept.kind]
        if checks.share_changed(draft) > max_changed:
            faults.append(f"more than {max_changed:.0%} of the other words changed")
    return faults
