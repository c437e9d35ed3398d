"""The stage: a writer is asked until there are enough pairs and test prompts; rejects stay, with their reason.

Shard 0 holds the training pairs, shard 1 the test prompts, both with the rejects among them, in the order written.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from ecgvf import console
from ecgvf.concepts import Concept
from ecgvf.errors import SettingsError
from ecgvf.pairs import checks
from ecgvf.pairs.parsing import Draft, Unreadable, parse
from ecgvf.pairs.writers import Answer, Request, Writer
from ecgvf.pairs.writers.offline import OfflineWriter
from ecgvf.records import PromptPair, Reason, Split, from_table, malformed_id, record_id, to_table
from ecgvf.store import PAIRS, StageSet, Store

PER_CALL = 10
"""Prompts per call, as in the paper (section 5.1)."""

FRUITLESS = 20
"""After so many calls in a row without one new prompt, the writer has nothing left to say."""

SHARDS: dict[Split, int] = {"train": 0, "test": 1}


def generate(
    store: Store,
    concept: Concept,
    *,
    pairs: int = 60,
    tests: int = 100,
    seed: int = 0,
    writer: Writer | None = None,
    round: int = 0,
    before: Sequence[StageSet] = (),
) -> StageSet:
    """Write ``pairs`` training pairs and ``tests`` test prompts for ``concept``: the finished set of ``PromptPair``.

    ``round`` asks the writer anew, for something else; no prompt of the sets ``before`` is written again.
    A writer that runs dry leaves fewer, and the user is told. The set goes on where it was interrupted, and is only
    made current where it is finished already. Raises ``SettingsError``, ``WriterError``, ``StoreError``, ``DiskFull``.
    """
    if pairs < 1 or tests < 0:
        raise SettingsError(f"--pairs {pairs} --tests {tests}: at least one pair, and no negative number of tests")
    writer = writer or OfflineWriter()
    writer.check(concept)
    store.remember(concept)
    decided = settings(concept, writer, pairs=pairs, tests=tests, seed=seed)
    if round or before:
        decided |= {"round": round, "before": [one.fingerprint for one in before]}
    stage = store.stage(concept.name, PAIRS, decided)
    for line in stage.moved:
        console.note(console.plain(f"new set {stage.fingerprint}: {line}"))
    taken = checks.Seen()
    for row in (row for one in before for row in from_table(PromptPair, one.read())):
        if row.reason is None:
            taken.add(row.target)
    summary: dict[str, Any] = {"writer": writer.name}
    wanted: dict[Split, int] = {"train": pairs, "test": tests}
    for split, enough in wanted.items():
        shard = SHARDS[split]
        if not stage.done(shard):
            rows = list(_written(concept, writer, split, enough, seed, round, taken))
            stage.write_shard(shard, to_table(PromptPair, rows))
        else:
            rows = from_table(PromptPair, stage.read_shard(shard))
            for row in rows:
                if row.reason is None:
                    taken.add(row.target)
        summary[split] = tally(rows)
        if summary[split]["accepted"] < enough:
            console.note(
                f"{writer.name} ran dry: {summary[split]['accepted']} of {enough} "
                f"{'pairs' if split == 'train' else 'test prompts'}"
            )
    stage.finish(summary)
    return stage


def examples(stage: StageSet, number: int) -> list[PromptPair]:
    """The first ``number`` accepted pairs of a set."""
    rows = from_table(PromptPair, stage.read_shard(SHARDS["train"]))
    return [row for row in rows if row.reason is None][:number]


def settings(concept: Concept, writer: Writer, *, pairs: int, tests: int, seed: int) -> dict[str, Any]:
    """Everything that decides the rows, and so the set's fingerprint."""
    return {
        "concept": concept.model_dump(mode="json"),
        "writer": writer.settings(),
        "pairs": pairs,
        "tests": tests,
        "seed": seed,
        "per_call": PER_CALL,
        "checks": {"most_changed": checks.MOST_CHANGED, "near": checks.NEAR},
    }


def tally(rows: list[PromptPair]) -> dict[str, int]:
    """How many rows were accepted, and how many rejected for each reason."""
    counts = {"accepted": 0, "malformed": 0, "duplicate": 0}
    for row in rows:
        counts[row.reason or "accepted"] += 1
    return counts


def _written(
    concept: Concept, writer: Writer, split: Split, enough: int, seed: int, round: int, taken: checks.Seen
) -> Iterator[PromptPair]:
    accepted = fruitless = 0
    with console.progress(f"{'pairs' if split == 'train' else 'test prompts'} by {writer.name}", enough) as bar:
        for iteration in count():
            if accepted >= enough or fruitless >= FRUITLESS:
                return
            asked = min(PER_CALL, enough - accepted)
            request = Request(concept=concept, split=split, count=asked, iteration=iteration, seed=seed, round=round)
            answer = writer.write(request)
            fresh = 0
            for position, item in enumerate(parse(answer.text, split)):
                if accepted + fresh >= enough:  # an LLM may write more than it was asked for
                    break
                row = _row(concept, writer, request, answer, position, item, taken)
                if row.reason is None:
                    taken.add(row.target)
                    fresh += 1
                    bar.advance()
                yield row
            accepted += fresh
            fruitless = 0 if fresh else fruitless + 1


def _row(
    concept: Concept,
    writer: Writer,
    request: Request,
    answer: Answer,
    position: int,
    item: Draft | Unreadable,
    taken: checks.Seen,
) -> PromptPair:
    reason: Reason | None = None
    detail: str | None = None
    draft = item if isinstance(item, Draft) else Draft("", "", None, None, item.raw)
    if isinstance(item, Unreadable):
        reason, detail = "malformed", item.detail
    elif wrong := checks.fault(concept, item):
        reason, detail = "malformed", wrong
    elif twin := taken.like(item.target):
        reason, detail = "duplicate", f"like {twin!r}"
    # A rejected answer's id is where it stood, so that two equal answers are two rows.
    name = malformed_id(answer.call_id, position) if reason else record_id(concept.name, draft.target, draft.surrogate)
    return PromptPair(
        record_id=name,
        concept=concept.name,
        kind=concept.kind,
        split=request.split,
        target=draft.target,
        surrogate=draft.surrogate,
        target_term=checks.target_term(concept, draft) if draft.target else "",
        surrogate_term=draft.surrogate_term or None,
        writer=writer.name,
        model_asked=answer.model_asked,
        model_answered=answer.model_answered,
        template=answer.template,
        template_hash=answer.template_hash,
        iteration=request.iteration,
        call_id=answer.call_id,
        reason=reason,
        detail=f"{detail}: {draft.raw}" if detail else None,
    )
