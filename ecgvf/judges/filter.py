"""Stage 3: a judge looks at every picture, and the rule accepts or rejects every record."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ecgvf import console
from ecgvf.concepts import Concept
from ecgvf.judges.accept import RULE, accept
from ecgvf.judges.choice import choose
from ecgvf.judges.judge import Judge, Reading
from ecgvf.records import Acceptance, PromptPair, Rendering, Role, Row, Verdict, from_table, to_table
from ecgvf.render import render_missing
from ecgvf.render.png import decode
from ecgvf.store import ACCEPTANCE, PAIRS, VERDICTS, StageSet, Store


@dataclass(frozen=True, slots=True)
class Filtered:
    """What the stage decided."""

    stage: StageSet
    """The acceptance set."""
    judge: str
    accepted_pairs: int
    pairs: int
    accepted_tests: int
    tests: int
    reasons: dict[str, int]
    """Reason → rejected records, most frequent first."""


def filter_pictures(
    store: Store, concept: Concept, *, judge: str | None = None, device: str = "auto", chosen: str | None = None
) -> Filtered:
    """Judge the current pictures (or those of the set that starts with ``chosen``) and decide on every record.

    What is not yet drawn is drawn first. Raises ``JudgeError``, and whatever ``render`` raises.
    """
    pictures = render_missing(store, concept, device=device, chosen=chosen).stage
    looking = choose(concept, pictures.settings["model"], judge)
    verdicts = store.stage(
        concept.name,
        VERDICTS,
        {
            "pictures": pictures.fingerprint,
            "judge": looking.name,
            "judge_hash": looking.weights_hash,
            "labels": list(looking.accepted),
        },
    )
    if not verdicts.finished:
        _look_at_missing(looking, pictures, verdicts)
    verdicts.finish({} if verdicts.finished else _seen(verdicts))
    return _decide(store, concept, pictures, verdicts)


def _look_at_missing(judge: Judge, pictures: StageSet, verdicts: StageSet) -> None:
    for moved in verdicts.moved if not verdicts.shards() else []:
        console.say(f"New set of verdicts, {console.plain(moved)}")
    count = len(pictures.shards())
    there = [verdicts.done(index) for index in range(count)]
    with console.progress(f"{judge.name} looks", count, sum(there)) as bar:
        for index in range(count):
            if not there[index]:
                renderings = from_table(Rendering, pictures.read_shard(index))
                verdicts.write_shard(index, to_table(Verdict, look(judge, renderings)))
                bar.advance()


def look(judge: Judge, renderings: Sequence[Rendering]) -> list[Verdict]:
    """One verdict per picture that was drawn, in their order; a picture that the judge fails on says so."""
    drawn = [rendering for rendering in renderings if rendering.failure is None]
    try:
        readings: list[Reading | str] = list(_readings(judge, drawn))
    except (OSError, ValueError, RuntimeError) as error:
        if len(drawn) == 1:
            readings = [(str(error) or type(error).__name__).splitlines()[0]]
        else:
            # One of them spoils the batch: alone, each tells for itself.
            return [verdict for rendering in drawn for verdict in look(judge, [rendering])]
    return [_verdict(judge, rendering, reading) for rendering, reading in zip(drawn, readings, strict=True)]


def _readings(judge: Judge, drawn: Sequence[Rendering]) -> list[Reading]:
    return judge.look(np.stack([decode(rendering.image) for rendering in drawn])) if drawn else []


def _verdict(judge: Judge, rendering: Rendering, reading: Reading | str) -> Verdict:
    failure = reading if isinstance(reading, str) else None
    seen = Reading(present=False, score=0.0, top_labels=()) if isinstance(reading, str) else reading
    return Verdict(
        record_id=rendering.record_id,
        role=rendering.role,
        judge=judge.name,
        judge_hash=judge.weights_hash,
        present=seen.present,
        score=seen.score,
        top_labels=seen.top_labels,
        failure=failure,
    )


def _decide(store: Store, concept: Concept, pictures: StageSet, verdicts: StageSet) -> Filtered:
    pairs_set = store.current(concept.name, PAIRS, pictures.settings["pairs"])
    settings = {
        "pairs": pairs_set.fingerprint,
        "pictures": pictures.fingerprint,
        "verdicts": verdicts.fingerprint,
        "rule": RULE,
    }
    stage = store.stage(concept.name, ACCEPTANCE, settings)
    pairs = from_table(PromptPair, pairs_set.read())
    if not stage.done(0):
        drawn: dict[str, set[Role]] = {}
        for row in _rows(pictures, "record_id", "role", "failure"):
            if row["failure"] is None:
                drawn.setdefault(row["record_id"], set()).add(row["role"])
        seen: dict[str, dict[Role, Verdict]] = {}
        for verdict in map(Verdict.from_row, _rows(verdicts)):
            seen.setdefault(verdict.record_id, {})[verdict.role] = verdict
        decisions = [accept(pair, drawn.get(pair.record_id, set()), seen.get(pair.record_id, {})) for pair in pairs]
        stage.write_shard(0, to_table(Acceptance, decisions))
    filtered = _count(stage, verdicts.settings["judge"], pairs, from_table(Acceptance, stage.read()))
    stage.finish(
        {
            "pairs": filtered.pairs,
            "accepted_pairs": filtered.accepted_pairs,
            "tests": filtered.tests,
            "accepted_tests": filtered.accepted_tests,
            "reasons": filtered.reasons,
        }
    )
    return filtered


def _rows(stage: StageSet, *columns: str) -> Iterator[Row]:
    for table in stage.tables():
        yield from (table.select(columns) if columns else table).to_pylist()


def _seen(verdicts: StageSet) -> dict[str, int]:
    rows = list(_rows(verdicts, "present", "failure"))
    return {
        "pictures": len(rows),
        "present": sum(row["present"] for row in rows),
        "failed": sum(row["failure"] is not None for row in rows),
    }


def _count(stage: StageSet, judge: str, pairs: Sequence[PromptPair], decided: Sequence[Acceptance]) -> Filtered:
    splits = Counter(pair.split for pair in pairs)
    accepted = Counter(pair.split for pair, decision in zip(pairs, decided, strict=True) if decision.accepted)
    reasons = Counter(decision.reason for decision in decided if decision.reason is not None)
    return Filtered(
        stage=stage,
        judge=judge,
        accepted_pairs=accepted["train"],
        pairs=splits["train"],
        accepted_tests=accepted["test"],
        tests=splits["test"],
        reasons={str(reason): count for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))},
    )
