"""The stage: writers are asked until there are enough pairs and test prompts; rejects stay, with their reason.

Shard 0 holds the training pairs, shard 1 the test prompts, both with the rejects among them, in the order written. Each
of these *parts* says in the set's settings by what it was written, so that one of them can be written anew and the
other kept as it is (``--split``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

from ecgvf.core import console
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import SettingsError, StageMissing
from ecgvf.core.records import PromptPair, Reason, Split, from_table, malformed_id, record_id, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, StageSet
from ecgvf.llm.clients import Request, Writer
from ecgvf.pairs import checks, parsing
from ecgvf.pairs.offline import OfflineWriter
from ecgvf.pairs.parsing import Draft, Unreadable, parse
from ecgvf.pairs.writer_stats import worth

PER_CALL = 10
"""Prompts per call, as in the paper (section 5.1)."""

FRUITLESS = 20
"""After so many calls in a row without one new prompt, the offline writer has nothing left to say."""

LONGEST_DETAIL = 10_000
"""Letters of an answer that a reject keeps; the ledger keeps all of an LLM's."""

SHARDS: dict[Split, int] = {"train": 0, "test": 1}
CALLED: dict[Split, str] = {"train": "pairs", "test": "test prompts"}


@dataclass(frozen=True, slots=True)
class Part:
    """One split of a set: what decides its rows, and how to get them, given the prompts that are taken."""

    settings: dict[str, Any] | None
    """None: nothing was asked for."""
    rows: Callable[[checks.Seen], Sequence[PromptPair]]
    wanted: int = 0
    by: str = ""
    told: Mapping[str, Any] | None = None
    """What is known of the LLMs that were paid for a kept part."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an answer comes from: what every row of it says of its provenance."""

    writer: str
    split: Split
    iteration: int
    call_id: str
    model_asked: str
    model_answered: str
    template: str
    template_hash: str


def generate(
    run: ConceptRun,
    *,
    pairs: int = 60,
    tests: int = 100,
    seed: int = 0,
    writer: Writer | None = None,
    split: Split | None = None,
    round: int = 0,
    before: Sequence[StageSet] = (),
) -> StageSet:
    """Let the offline writer write ``pairs`` pairs and ``tests`` test prompts: the finished set of ``PromptPair``.

    With ``split``, only that part is written; the other stays as it is in the current set. ``round`` asks the writer
    anew, for something else; no prompt of the sets ``before`` is written again. A writer that runs dry leaves fewer,
    and the user is told. The set goes on where it was interrupted, and is only made current where it is finished
    already. Raises ``SettingsError``, ``WriterError``, ``StoreError``, ``DiskFull``.
    """
    if pairs < 1 or tests < 0:
        raise SettingsError(f"--pairs {pairs} --tests {tests}: at least one pair, and no negative number of tests")
    chosen = writer or OfflineWriter()
    chosen.check(run.concept)

    def part(one: Split, enough: int) -> Part:
        if split not in (None, one):
            return kept_part(run, one)
        number = {"pairs" if one == "train" else "tests": enough}
        decided = {"writer": chosen.settings(), **number, "seed": seed, "per_call": PER_CALL, **reading(run.concept)}
        rows = partial(_written, run.concept, chosen, one, enough, seed, round)
        return Part(decided, lambda taken: list(rows(taken)), enough, chosen.name)

    parts: dict[Split, Part] = {"train": part("train", pairs), "test": part("test", tests)}
    return write_set(run, parts, chosen.name, round=round, before=before)


def write_set(
    run: ConceptRun,
    parts: Mapping[Split, Part],
    by: str,
    paid: Mapping[Split, Mapping[str, Any]] | None = None,
    round: int = 0,
    before: Sequence[StageSet] = (),
) -> StageSet:
    """Write the set of these parts, finish it and make it current; ``paid`` is what is known of the LLMs of a part."""
    run.store.remember(run.concept)
    decided = settings(run.concept, parts)
    if round or before:
        decided |= {"round": round, "before": [one.fingerprint for one in before]}
    stage = run.stage_set(PAIRS, decided)
    for line in stage.changed_settings:
        console.note(console.escape(f"new set {stage.fingerprint}: {line}"))
    taken = checks.Seen()
    for row in (row for one in before for row in one.records(PromptPair)):
        if row.reason is None:
            taken.add(row.target)
    summary: dict[str, Any] = {"writer": by}
    written: list[PromptPair] = []
    for split, part in parts.items():
        shard = SHARDS[split]
        if not stage.done(shard):
            stage.write_shard(shard, to_table(PromptPair, part.rows(taken.copy())))
        rows = from_table(PromptPair, stage.read_shard(shard))
        for row in rows:
            if row.reason is None:
                taken.add(row.target)
        written += rows
        summary[split] = tally(rows)
        if summary[split]["accepted"] < part.wanted:
            what = CALLED[split]
            console.note(f"{part.by} ran dry: {summary[split]['accepted']} of {part.wanted} {what}")
    told = {split: part.told for split, part in parts.items() if part.told} | dict(paid or {})
    summary |= worth(written, told)
    stage.finish(summary)
    stage.update_summary(
        summary
    )  # the same answers may have cost more since: a writer that failed, a call that was lost
    return stage


def settings(concept: Concept, parts: Mapping[Split, Part]) -> dict[str, Any]:
    """Everything that decides the rows, and so the set's fingerprint."""
    return {
        "concept": concept.model_dump(mode="json"),
        **{split: part.settings for split, part in parts.items()},
    }


def reading(concept: Concept) -> dict[str, Any]:
    """How answers are read and checked: part of the settings of every part."""
    return {"parser": parsing.VERSION, "checks": checks.bounds(concept.kind)}


def kept_part(run: ConceptRun, split: Split) -> Part:
    """A part as it is in the current set; empty where there is none, or where the concept is another now."""
    try:
        current = run.current(PAIRS)
    except StageMissing:
        return Part(None, lambda _: [])
    known = current.settings.get(split, {"set": current.fingerprint})  # an imported set has no parts of its own
    if known is None:
        return Part(None, lambda _: [])
    if current.settings.get("concept") != run.concept.model_dump(mode="json"):
        console.note(
            f"the concept has changed since the {CALLED[split]} of set {current.fingerprint} were written: the new set "
            f"is without them; write them anew with --split {split}"
        )
        return Part(None, lambda _: [])

    def rows(taken: checks.Seen) -> list[PromptPair]:
        kept = from_table(PromptPair, current.read_shard(SHARDS[split]))
        return [_judged_again(row, taken) for row in kept]

    return Part(known, rows, told=current.summary.get("paid", {}).get(split))


def examples(stage: StageSet, number: int) -> list[PromptPair]:
    """The first ``number`` accepted pairs of a set; its test prompts where it has no pairs."""
    rows = [row for row in stage.records(PromptPair) if row.reason is None]
    return ([row for row in rows if row.split == "train"] or rows)[:number]


def tally(rows: Sequence[PromptPair]) -> dict[str, int]:
    """How many rows were accepted, and how many rejected for each reason."""
    counts = {"accepted": 0, "malformed": 0, "duplicate": 0}
    for row in rows:
        counts[row.reason or "accepted"] += 1
    return counts


def to_row(
    concept: Concept,
    source: Source,
    position: int,
    item: Draft | Unreadable,
    taken: checks.Seen,
    language: str | None = None,
) -> PromptPair:
    """The row of one part of an answer, accepted or with its reason; ``position`` counts from 0 in the answer."""
    reason: Reason | None = None
    detail: str | None = None
    draft = item if isinstance(item, Draft) else Draft("", "", None, None, item.raw)
    if isinstance(item, Unreadable):
        reason, detail = "malformed", item.detail
    elif wrong := checks.fault(concept, item, language):
        reason, detail = "malformed", wrong
    elif twin := taken.like(item.target):
        reason, detail = "duplicate", f"like {twin!r}"
    # A rejected answer's id is where it stood, so that two equal answers are two rows.
    name = malformed_id(source.call_id, position) if reason else record_id(concept.name, draft.target, draft.surrogate)
    return PromptPair(
        record_id=name,
        concept=concept.name,
        kind=concept.kind,
        split=source.split,
        target=draft.target,
        surrogate=draft.surrogate,
        target_term=checks.target_term(concept, draft) if draft.target else "",
        surrogate_term=draft.surrogate_term or None,
        writer=source.writer,
        model_asked=source.model_asked,
        model_answered=source.model_answered,
        template=source.template,
        template_hash=source.template_hash,
        iteration=source.iteration,
        call_id=source.call_id,
        implicit=reason is None and checks.implicit(concept, draft.target),
        reason=reason,
        detail=f"{detail}: {_cut(draft.raw)}" if detail else None,
    )


def _written(
    concept: Concept, writer: Writer, split: Split, enough: int, seed: int, round: int, taken: checks.Seen
) -> Iterator[PromptPair]:
    accepted = fruitless = 0
    with console.progress(f"{CALLED[split]} by {writer.name}", enough) as bar:
        for iteration in count():
            if accepted >= enough or fruitless >= FRUITLESS:
                return
            asked = min(PER_CALL, enough - accepted)
            request = Request(concept=concept, split=split, count=asked, iteration=iteration, seed=seed, round=round)
            answer = writer.write(request)
            source = Source(
                writer=writer.name,
                split=split,
                iteration=iteration,
                call_id=answer.call_id,
                model_asked=answer.model_asked,
                model_answered=answer.model_answered,
                template=answer.template,
                template_hash=answer.template_hash,
            )
            fresh = 0
            for position, item in enumerate(parse(answer.text, split)):
                if accepted + fresh >= enough:  # a writer may write more than it was asked for
                    break
                row = to_row(concept, source, position, item, taken)
                if row.reason is None:
                    taken.add(row.target)
                    fresh += 1
                    bar.advance()
                yield row
            accepted += fresh
            fruitless = 0 if fresh else fruitless + 1


def _judged_again(row: PromptPair, taken: checks.Seen) -> PromptPair:
    """A kept row, rejected where new pairs come near it: no test prompt is like a training prompt.

    It is judged as it was written: one that was rejected for the pairs before these still has an accepted row's id.
    """
    if row.reason == "duplicate" and row.record_id == record_id(row.concept, row.target, row.surrogate):
        row = replace(row, reason=None, detail=None)
    twin = taken.like(row.target) if row.reason is None else None
    return row if twin is None else replace(row, reason="duplicate", detail=f"like {twin!r}: {row.target}")


def _cut(raw: str) -> str:
    return raw if len(raw) <= LONGEST_DETAIL else f"{raw[:LONGEST_DETAIL]}… ({len(raw)} letters)"
