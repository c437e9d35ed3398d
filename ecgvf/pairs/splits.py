"""A pairs set, split by split.

Each split is a shard with its records in the order written, rejects included. No prompt is a near duplicate of an
earlier one, whatever their splits; imported prompts are checked as ``importing`` says. The settings say for each split
what decided its records, so that one split can be written again while the others are kept (``--split``).

``write_splits`` calls the method ``records`` of each split's generator, in the order of the splits, with the prompts
accepted so far. Generators are where the records come from: the offline writer and captions (``generate``), answers of
LLMs (``llm_writers``), the current set (``KeptSplit``).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ecgvf.core import console
from ecgvf.core.concepts import parse
from ecgvf.core.errors import SettingsError, StageMissing
from ecgvf.core.records import SPLITS, PromptPair, Split, from_table, malformed_id, record_id, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import fingerprint
from ecgvf.core.stage_set import PAIRS, StageSet
from ecgvf.pairs.checks import PromptIndex
from ecgvf.pairs.writer import IMPORT
from ecgvf.pairs.writer_stats import Spending, summarize_writers

SHARDS: dict[Split, int] = {"train": 0, "validation": 1, "test": 2, "retain": 3}
"""Split → its shard. Sets from before there was validation have test in shard 1: ``split_records`` reads both."""

COUNT_NAMES: dict[Split, str] = {"train": "pairs", "validation": "validation", "test": "tests", "retain": "retained"}
"""Split → the name of its number of prompts: a parameter of ``Run.generate``, a key of settings and summaries."""

SPLIT_NAMES: dict[Split, str] = {
    "train": "pairs",
    "validation": "validation prompts",
    "test": "test prompts",
    "retain": "prompts of retained concepts",
}
"""Split → its prompts in words."""

_SINGULAR: dict[Split, str] = {
    "train": "pair",
    "validation": "validation prompt",
    "test": "test prompt",
    "retain": "prompt of a retained concept",
}


def check_split(split: str) -> None:
    """Raise ``SettingsError`` for an unknown ``split``."""
    if split not in SPLITS:
        raise SettingsError(f"split {split!r} is unknown: use one of {', '.join(SPLITS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitGenerator:
    """How to make one split of a set. This one makes it empty."""

    settings: dict[str, Any] | None = None
    """Everything that decides the records, part of the set's settings; None if there are no records."""
    spending: Spending | None = None
    """What its LLMs have cost; None if none wrote it."""

    def records(self, accepted: PromptIndex) -> Sequence[PromptPair]:
        """Make the records, given the prompts accepted so far, to which it may add."""
        return ()

    def may_repeat(self, accepted: PromptPair) -> bool:
        """Whether its prompts may be near duplicates of ``accepted``, a record of an earlier split."""
        return False


def write_splits(
    run: ConceptRun, generators: Mapping[Split, SplitGenerator], writer: str, *, current: bool = True
) -> StageSet:
    """Write the set of the splits of ``generators``, and of the others as they are in the current set.

    If that would only repeat the current set, whichever of its splits were written last, it stays as it is. Parameters
    and errors as of ``write_set``.
    """
    try:
        before = run.current(PAIRS)
    except StageMissing:
        splits = {split: generators.get(split, SplitGenerator()) for split in SPLIT_NAMES}
        return write_set(run, splits, writer, current=current)
    splits = {split: generators.get(split) or keep_split(before, split) for split in SPLIT_NAMES}
    kept = [split for split, generator in splits.items() if split not in generators and generator.settings]
    is_imported = any(record.writer == IMPORT for split in kept for record in split_records(before, split))
    source = before.settings.get("source") if is_imported else None
    stage_set = run.stage_set(PAIRS, _settings(run, splits, source))
    if not stage_set.finished and _repeats(before, stage_set.settings, splits):
        stage_set = before
    return _fill_set(stage_set, splits, writer, current=current)


def write_set(
    run: ConceptRun,
    splits: Mapping[Split, SplitGenerator],
    writer: str,
    *,
    build_round: int = 0,
    earlier: Sequence[StageSet] = (),
    current: bool = True,
) -> StageSet:
    """Write the set of these splits, finish it and, if ``current``, make it current.

    ``build_round`` and ``earlier`` are for ``ecgvf build``: the round's number, and the sets of the rounds before,
    whose prompts are not written again. The summary of a set without records names ``writer``. Raises ``StoreError``
    and ``DiskFull``.
    """
    settings = _settings(run, splits)
    if build_round or earlier:
        settings |= {"round": build_round, "before": [stage_set.fingerprint for stage_set in earlier]}
    return _fill_set(run.stage_set(PAIRS, settings), splits, writer, earlier=earlier, current=current)


def _settings(
    run: ConceptRun, splits: Mapping[Split, SplitGenerator], source: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The settings of a set; ``source`` is the file that kept splits were imported from, as the imported set has it."""
    return {
        "concept": run.concept.model_dump(mode="json"),
        **{split: generator.settings for split, generator in splits.items() if generator.settings or split != "retain"},
        **({"source": source} if source else {}),
    }


def _repeats(current: StageSet, settings: Mapping[str, Any], splits: Mapping[Split, SplitGenerator]) -> bool:
    """Whether a set of ``splits`` with these ``settings`` would differ from ``current`` in which splits are kept alone.

    The records are compared, too: of a kept split, ``current`` may have others than are written beside it now.
    """
    if _without_kept(settings) != _without_kept(current.settings):
        return False
    accepted: list[PromptPair] = []
    for split, generator in splits.items():
        records = list(_make_records(generator, accepted))
        if records != split_records(current, split):
            return False
        accepted += [record for record in records if record.reason is None]
    return True


def _without_kept(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` of a set, without the hashes by ``keep_split``."""
    return {
        key: {name: setting for name, setting in value.items() if name != "kept"} if isinstance(value, dict) else value
        for key, value in settings.items()
    }


def _fill_set(
    stage_set: StageSet,
    splits: Mapping[Split, SplitGenerator],
    writer: str,
    *,
    earlier: Sequence[StageSet] = (),
    current: bool,
) -> StageSet:
    """Write what is missing of ``stage_set``; parameters as of ``write_set``."""
    run = stage_set.run
    run.store.remember_new(run.concept)
    stage_set.announce()
    accepted = [record for before in earlier for record in before.records(PromptPair) if record.reason is None]
    summary: dict[str, Any] = {"writer": writer}
    records: list[PromptPair] = []
    for split, generator in splits.items():
        if split == "retain" and generator.settings is None:
            continue  # older sets have no such split, and their fingerprints must stay
        shard = SHARDS[split]
        if not stage_set.done(shard):
            stage_set.write_shard(shard, to_table(PromptPair, _make_records(generator, accepted)))
        written = from_table(PromptPair, stage_set.read_shard(shard))
        accepted += [record for record in written if record.reason is None]
        records += written
        summary[split] = tally(written)
    # The writers of kept splits count, too.
    summary["writer"] = ", ".join(dict.fromkeys(record.writer for record in records)) or writer
    spending = {split: generator.spending for split, generator in splits.items() if generator.spending}
    summary |= summarize_writers(records, spending)
    stage_set.finish(summary, current=current)
    if current:
        run.store.remember(run.concept)
    stage_set.update_summary(summary)  # a finished set's answers may have cost more since: failed or lost calls
    return stage_set


def _make_records(generator: SplitGenerator, accepted: Iterable[PromptPair]) -> Sequence[PromptPair]:
    """The records of a split, given those accepted so far."""
    return generator.records(PromptIndex(record.target for record in accepted if not generator.may_repeat(record)))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSplit(SplitGenerator):
    """A split of the current set.

    Imported records are rejected only where the import would: the same pair twice, or a validation or test prompt like
    a training prompt.
    """

    split: Split
    kept: Sequence[PromptPair]
    """Its records, as they were written."""
    ids: frozenset[str]
    """The ids of ``kept``."""
    imported: bool

    def records(self, accepted: PromptIndex) -> list[PromptPair]:
        return [reject_if_duplicate(record, accepted) for record in self.kept]

    def may_repeat(self, accepted: PromptPair) -> bool:
        is_training = accepted.split == "train" and self.split in ("validation", "test")
        return self.imported and not is_training and accepted.record_id not in self.ids


def keep_split(current: StageSet, split: Split) -> SplitGenerator:
    """The split as it is in ``current``; empty if that has none, or if the concept has changed since.

    Its settings have ``kept``, a hash of its records: which prompts were new when it was written depended on the splits
    that the set had then.
    """
    written = split_records(current, split)
    # An imported set has no settings per split.
    settings: dict[str, Any] | None = current.settings.get(split, {} if written else None)
    if settings is None:
        return SplitGenerator()
    recorded = current.settings.get("concept")
    if recorded is None or parse(recorded, f"{current.path / 'settings.json'}") != current.run.concept:
        console.note(
            f"the concept has changed since the {SPLIT_NAMES[split]} of set {current.fingerprint} were written: the "
            f"new set leaves them out; write them anew with --split {split}"
        )
        return SplitGenerator()
    kept = [_as_written(record) for record in written]
    ids = [record.record_id for record in kept]
    imported = any(record.writer == IMPORT for record in kept)
    content: dict[str, Any] = {"records": ids}
    if imported:  # older sets rejected more of them
        content["imported"] = True
    return KeptSplit(
        settings={**settings, "kept": fingerprint(content)},
        spending=current.summary.get("paid", {}).get(split),
        split=split,
        kept=kept,
        ids=frozenset(ids),
        imported=imported,
    )


def reject_if_duplicate(record: PromptPair, accepted: PromptIndex) -> PromptPair:
    """``record``, rejected if it is a near duplicate of an ``accepted`` prompt.

    A reject has an id of its own: the accepted record may be this very pair.
    """
    duplicate = accepted.near_duplicate(record.target) if record.reason is None else None
    if duplicate is None:
        return record
    detail = f"like {duplicate!r}: {record.target}"
    return replace(record, record_id=malformed_id(record.record_id, 0), reason="duplicate", detail=detail)


def split_records(stage_set: StageSet, split: Split) -> list[PromptPair]:
    """The records of a split, in the order written; a set from before there was validation has none of it."""
    return [record for record in stage_set.records(PromptPair) if record.split == split]


def tally(records: Sequence[PromptPair]) -> dict[str, int]:
    """How many records were accepted, and how many rejected for each reason."""
    counts = Counter(record.reason or "accepted" for record in records)
    return {outcome: counts[outcome] for outcome in ("accepted", "malformed", "duplicate")}


def counts_text(counts: Mapping[Any, int], totals: Mapping[Any, int] | None = None) -> str:
    """Counts by split in words: "60 pairs, 100 validation prompts", or "52 of 60 pairs, …" with ``totals``.

    Other keys than splits are left out.
    """
    return ", ".join(
        ("" if totals is None else f"{counts[split]} of ")
        + console.counted((totals or counts)[split], _SINGULAR[split], plural)
        for split, plural in SPLIT_NAMES.items()
        if split in counts
    )


def examples(stage_set: StageSet, number: int) -> list[PromptPair]:
    """The first ``number`` accepted pairs of a set; evaluation prompts if it has no pairs."""
    accepted = [record for record in stage_set.records(PromptPair) if record.reason is None]
    return ([record for record in accepted if record.split == "train"] or accepted)[:number]


def _as_written(record: PromptPair) -> PromptPair:
    """``record`` without the rejection by ``reject_if_duplicate``. One rejected when it was written stays rejected."""
    identity = record_id(record.concept, record.target, record.surrogate)
    if record.reason == "duplicate" and record.record_id == malformed_id(identity, 0):
        return replace(record, record_id=identity, reason=None, detail=None)
    return record
