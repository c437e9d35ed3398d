"""Stage 1: a writer is asked until enough pairs and evaluation prompts are accepted; rejects stay, with their reason.

A shard per split holds its records in the order written; no prompt is a near duplicate of an earlier one, of whatever
split. A set's settings say for each split what decided its records, so that one split can be written anew while the
others are kept (``--split``).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from ecgvf.core import console
from ecgvf.core.concepts import Concept, parse
from ecgvf.core.errors import SettingsError, StageMissing
from ecgvf.core.records import PromptPair, Reason, Split, from_table, malformed_id, record_id, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, StageSet
from ecgvf.pairs import captions
from ecgvf.pairs.answers import read_answer
from ecgvf.pairs.captions import CAPTIONS
from ecgvf.pairs.checks import PromptIndex, reader_settings
from ecgvf.pairs.offline import OfflineWriter
from ecgvf.pairs.parsing import Draft
from ecgvf.pairs.wording import wording_of
from ecgvf.pairs.writer import Provenance, Request, Writer
from ecgvf.pairs.writer_stats import Spending, summarize_writers

PROMPTS_PER_CALL = 10
"""As in the paper (section 5.1)."""

MAX_FRUITLESS_CALLS = 20
"""The offline writer stops after this many calls in a row without a new prompt."""

MAX_DETAIL_CHARACTERS = 10_000
"""How much of an answer a reject keeps; the ledger keeps an LLM's whole answer."""

SHARDS: dict[Split, int] = {"train": 0, "validation": 1, "test": 2, "retain": 3}
"""Split → its shard. Sets from before there was validation have test in shard 1: ``split_records`` reads both."""

SPLIT_NAMES: dict[Split, str] = {
    "train": "pairs",
    "validation": "validation prompts",
    "test": "test prompts",
    "retain": "prompts of retained concepts",
}

_COUNTS: dict[Split, str] = {"train": "pairs", "validation": "validation", "test": "tests"}
"""Split → the setting that says how many prompts were asked for."""


@dataclass(frozen=True, slots=True)
class SplitGenerator:
    """How one split of a set is made. The default makes an empty split."""

    settings: dict[str, Any] | None = None
    """What decides the records; None if there are none."""
    records: Callable[[PromptIndex], Sequence[PromptPair]] = lambda accepted: ()
    """Makes the records, and adds the accepted ones to the index of what was accepted before."""
    spending: Spending | None = None
    """What the LLMs that wrote it have cost."""
    source: dict[str, Any] | None = None
    """The file that it was imported from."""


def generate_pairs(
    run: ConceptRun,
    *,
    pairs: int = 60,
    validation: int = 100,
    tests: int = 100,
    retained: int = CAPTIONS,
    seed: int = 0,
    writer: Writer | None = None,
    split: Split | None = None,
    build_round: int | None = None,
    earlier: Sequence[StageSet] = (),
) -> StageSet:
    """Write training pairs, ``validation`` and ``tests`` evaluation prompts: the finished set of ``PromptPair``, made
    current.

    The default writer is offline. With ``split``, only that split is written, and the others kept as the current set
    has them; ``retain`` is written in no other way: ``retained`` of the captions that ship, of each retained concept.
    ``ecgvf build`` passes its round, and the sets of ``earlier`` rounds, whose prompts are not written again; it has no
    retain split.
    A writer that runs out of new prompts writes fewer, and a note says so. An interrupted set is resumed, a finished
    one only made current. Raises ``SettingsError``, ``WriterError``, ``StoreError``, ``DiskFull``.
    """
    if pairs < 1 or validation < 0 or tests < 0:
        raise SettingsError(
            f"--pairs {pairs} --validation {validation} --tests {tests}: at least 1 pair, and 0 or more of the rest"
        )
    if split == "retain":
        return _write_captions(run, retained)
    writer = writer or OfflineWriter()
    writer.check(run.concept)
    counts: dict[Split, int] = {"train": pairs, "validation": validation, "test": tests}
    splits: dict[Split, SplitGenerator] = {}
    for name, number in counts.items():
        if split not in (None, name):
            splits[name] = keep_split(run, name)
            continue
        settings = {"writer": writer.settings(), _COUNTS[name]: number, "seed": seed}
        settings |= {"per_call": PROMPTS_PER_CALL, **reader_settings(run.concept.kind)}
        request = Request(
            concept=run.concept, split=name, count=number, iteration=0, seed=seed, build_round=build_round or 0
        )
        splits[name] = SplitGenerator(settings, partial(_write, writer, request))
    if build_round is None:
        splits["retain"] = keep_split(run, "retain")
    stage_set = write_set(run, splits, writer.name, build_round=build_round or 0, earlier=earlier)
    for name, number in counts.items():
        accepted = stage_set.summary[name]["accepted"]
        if split in (None, name) and accepted < number:
            console.note(
                f"only {accepted} of {number} {SPLIT_NAMES[name]} by {writer.name}: "
                f"its last {MAX_FRUITLESS_CALLS} calls gave nothing new"
            )
    return stage_set


def write_set(
    run: ConceptRun,
    splits: Mapping[Split, SplitGenerator],
    writer: str,
    *,
    build_round: int = 0,
    earlier: Sequence[StageSet] = (),
) -> StageSet:
    """Write the set of these splits, finish it and make it current. ``writer`` names those of a set without records."""
    run.store.remember(run.concept)
    settings: dict[str, Any] = {
        "concept": run.concept.model_dump(mode="json"),
        **{split: generator.settings for split, generator in splits.items() if generator.settings or split != "retain"},
    }
    if build_round or earlier:
        settings |= {"round": build_round, "before": [stage_set.fingerprint for stage_set in earlier]}
    if source := next((generator.source for generator in splits.values() if generator.source), None):
        settings["source"] = source
    stage_set = run.stage_set(PAIRS, settings)
    for line in stage_set.changed_settings:
        console.note(console.escape(f"new set {stage_set.fingerprint}: {line}"))
    accepted = [record.target for before in earlier for record in before.records(PromptPair) if record.reason is None]
    summary: dict[str, Any] = {"writer": writer}
    records: list[PromptPair] = []
    for split, generator in splits.items():
        if split == "retain" and generator.settings is None:
            continue  # sets without it are those of before there was one
        shard = SHARDS[split]
        if not stage_set.done(shard):
            stage_set.write_shard(shard, to_table(PromptPair, generator.records(PromptIndex(accepted))))
        written = from_table(PromptPair, stage_set.read_shard(shard))
        accepted += [record.target for record in written if record.reason is None]
        records += written
        summary[split] = tally(written)
    # Those of kept splits, too.
    summary["writer"] = ", ".join(dict.fromkeys(record.writer for record in records)) or writer
    spending = {split: generator.spending for split, generator in splits.items() if generator.spending}
    summary |= summarize_writers(records, spending)
    stage_set.finish(summary)
    stage_set.update_summary(summary)  # a finished set's answers may have cost more since: failed or lost calls
    return stage_set


def _write_captions(run: ConceptRun, per_concept: int) -> StageSet:
    """The current set with the captions that ship as its retain split, ``per_concept`` of each retained concept."""
    if per_concept < 1:
        raise SettingsError(f"--count {per_concept}: at least 1 prompt of each retained concept")
    settings = {**captions.settings(), "retained": per_concept, **reader_settings(run.concept.kind)}

    def records(accepted: PromptIndex) -> list[PromptPair]:
        answer = captions.write(run.concept, per_concept)
        drafts = read_answer(run.concept, answer.text, "retain")
        return to_records(run.concept, answer.provenance, drafts, accepted, len(drafts))

    splits = {split: keep_split(run, split) for split in SPLIT_NAMES}
    return write_set(run, splits | {"retain": SplitGenerator(settings, records)}, captions.NAME)


def keep_split(run: ConceptRun, split: Split) -> SplitGenerator:
    """The split as the current set has it; empty if there is none, or if the concept has changed since."""
    try:
        current = run.current(PAIRS)
    except StageMissing:
        return SplitGenerator()
    source = current.settings.get("source")
    imported = {"set": current.fingerprint} if source else None  # it has no settings per split
    settings = current.settings.get(split, imported if split != "retain" or split in current.summary else None)
    if settings is None:
        return SplitGenerator()
    if "gathered" in current.settings:  # a build's: its settings are those of the first round alone
        settings = {**settings, "set": current.fingerprint}
    recorded = current.settings.get("concept")
    if recorded is None or parse(recorded, f"{current.path / 'settings.json'}") != run.concept:
        console.note(
            f"the concept has changed since the {SPLIT_NAMES[split]} of set {current.fingerprint} were written: the "
            f"new set leaves them out; write them anew with --split {split}"
        )
        return SplitGenerator()

    def records(accepted: PromptIndex) -> list[PromptPair]:
        return [_recheck(record, accepted) for record in split_records(current, split)]

    return SplitGenerator(settings, records, current.summary.get("paid", {}).get(split), source)


def split_records(stage_set: StageSet, split: Split) -> list[PromptPair]:
    """The records of a split, in the order written; a set from before there was validation has none of it."""
    return [record for record in stage_set.records(PromptPair) if record.split == split]


def to_records(
    concept: Concept, provenance: Provenance, drafts: Iterable[Draft], accepted: PromptIndex, count: int
) -> list[PromptPair]:
    """The records of an answer's checked drafts, until ``count`` are accepted; a writer may write more than that.

    A draft that is malformed or near one of the ``accepted`` is rejected with its reason; the others join ``accepted``.
    """
    records: list[PromptPair] = []
    for position, draft in enumerate(drafts):
        if not count:
            break
        record = _to_record(concept, provenance, position, draft, accepted)
        if record.reason is None:
            accepted.add(record.target)
            count -= 1
        records.append(record)
    return records


def _to_record(
    concept: Concept, provenance: Provenance, position: int, draft: Draft, accepted: PromptIndex
) -> PromptPair:
    """The record of the draft at ``position`` in its answer, from 0."""
    retained = provenance.split == "retain"
    own_term = concept.term_in(draft.target)
    reason: Reason | None = None
    detail = draft.fault
    if draft.fault is not None:
        reason = "malformed"
    elif duplicate := accepted.near_duplicate(draft.target):
        reason, detail = "duplicate", f"like {duplicate!r}"
    raw = draft.raw
    if len(raw) > MAX_DETAIL_CHARACTERS:
        raw = f"{raw[:MAX_DETAIL_CHARACTERS]}… ({len(raw)} letters)"
    if reason is None:
        identity = record_id(concept.name, draft.target, draft.surrogate)
    else:  # so that two equal rejects are two records
        identity = malformed_id(provenance.call_id, position)
    return PromptPair(
        record_id=identity,
        concept=concept.name,
        kind=concept.kind,
        target=draft.target,
        surrogate=draft.surrogate,
        target_term=own_term or draft.target_term,
        surrogate_term=draft.surrogate_term or None,
        **asdict(provenance),
        implicit=reason is None and own_term is None and not retained,
        reason=reason,
        detail=f"{detail}: {raw}" if detail else None,
        wording=wording_of(concept, draft.target, draft.wording) if reason is None and not retained else None,
        retained_concept=draft.retained_concept,
    )


def tally(records: Sequence[PromptPair]) -> dict[str, int]:
    """How many records were accepted, and how many rejected for each reason."""
    counts = Counter(record.reason or "accepted" for record in records)
    return {outcome: counts[outcome] for outcome in ("accepted", "malformed", "duplicate")}


def examples(stage_set: StageSet, number: int) -> list[PromptPair]:
    """The first ``number`` accepted pairs of a set; evaluation prompts if it has no pairs."""
    accepted = [record for record in stage_set.records(PromptPair) if record.reason is None]
    return ([record for record in accepted if record.split == "train"] or accepted)[:number]


def _write(writer: Writer, total: Request, accepted: PromptIndex) -> list[PromptPair]:
    """The records of ``total.count`` accepted prompts and the rejects among them, by as many requests as it takes."""
    records: list[PromptPair] = []
    missing, iteration, fruitless = total.count, 0, 0
    with console.progress(f"{SPLIT_NAMES[total.split]} by {writer.name}", total.count) as bar:
        while missing and fruitless < MAX_FRUITLESS_CALLS:
            answer = writer.write(replace(total, count=min(PROMPTS_PER_CALL, missing), iteration=iteration))
            drafts = read_answer(total.concept, answer.text, total.split)
            written = to_records(total.concept, answer.provenance, drafts, accepted, missing)
            new = sum(record.reason is None for record in written)
            bar.advance(new)
            records += written
            missing, iteration, fruitless = missing - new, iteration + 1, 0 if new else fruitless + 1
    return records


def _recheck(record: PromptPair, accepted: PromptIndex) -> PromptPair:
    """A kept record, checked against new ones: no evaluation prompt is a near duplicate of a training prompt.

    An accepted record that was rejected for its likeness to earlier pairs still has an accepted record's id: it gets
    another chance.
    """
    if record.reason == "duplicate" and record.record_id == record_id(record.concept, record.target, record.surrogate):
        record = replace(record, reason=None, detail=None)
    duplicate = accepted.near_duplicate(record.target) if record.reason is None else None
    if duplicate is None:
        return record
    return replace(record, reason="duplicate", detail=f"like {duplicate!r}: {record.target}")
