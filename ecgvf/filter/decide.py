"""From verdicts to decisions: the rule over every record of a run, as an acceptance set.

Everything that decides is in the set's settings, as fingerprints of what was looked at; so a set can be decided again
when people have looked, without a judge.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecgvf.core.png import decode
from ecgvf.core.records import Acceptance, PromptPair, Reason, Role, Row, Verdict, from_table, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, VERDICTS, StageSet
from ecgvf.filter import decisions
from ecgvf.filter.accept import RULE, accept
from ecgvf.filter.bounds import change
from ecgvf.filter.clip_score import LIKENESS, Likeness
from ecgvf.judges.judge import Criterion

Seen = dict[str, dict[Role, Verdict]]


@dataclass(frozen=True, slots=True)
class FilterResult:
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
    near_misses: dict[str, int]
    """Near label → target pictures that showed it instead of the concept, most frequent first."""
    reviewed: int
    """Records that people decided."""


def decide(
    run: ConceptRun, pictures: StageSet, verdicts: StageSet, bounds: Mapping[str, Any] | None = None
) -> FilterResult:
    """Decide on every record of ``pictures`` by ``verdicts``, the optional ``bounds``, and what people said."""
    settings = {
        "pairs": pictures.settings["pairs"],
        "pictures": pictures.fingerprint,
        "verdicts": verdicts.fingerprint,
        "rule": RULE,
        **({"bounds": dict(bounds)} if bounds else {}),
    }
    return _decided(run, settings)


def settled(run: ConceptRun) -> StageSet:
    """The current acceptance set, decided again where people have decided since. Raises ``StageMissing``."""
    current = run.current(ACCEPTANCE)
    ruled = _ruled(run, run.open(IMAGES, current.settings["pictures"]))
    if (decisions.fingerprint(ruled) if ruled else None) == current.settings.get("people"):
        return current
    return _decided(run, current.settings).stage


def without_people(run: ConceptRun, acceptance: StageSet) -> list[Acceptance]:
    """What a set's verdicts and bounds say by themselves, in record order."""
    asked = acceptance.settings
    pairs = run.open(PAIRS, asked["pairs"]).records(PromptPair)
    seen = verdicts_by_record(run.open(VERDICTS, asked["verdicts"]))
    return _accepted(run, asked, pairs, seen, {})


def verdicts_by_record(verdicts: StageSet) -> Seen:
    """Record id → role → verdict."""
    seen: Seen = {}
    for verdict in map(Verdict.from_row, _rows(verdicts)):
        seen.setdefault(verdict.record_id, {})[verdict.role] = verdict
    return seen


def drawn_by_record(pictures: StageSet) -> dict[str, set[Role]]:
    """Record id → the roles of which there is a picture."""
    drawn: dict[str, set[Role]] = {}
    for row in _rows(pictures, "record_id", "role", "failure"):
        if row["failure"] is None:
            drawn.setdefault(row["record_id"], set()).add(row["role"])
    return drawn


def criterion_of(verdicts: StageSet) -> Criterion:
    """The criterion by which a set of verdicts was given."""
    told = verdicts.settings
    return Criterion(
        label_set=told["label_set"],
        accepted=tuple(told["accepted"]),
        near=tuple(told["near"]),
        against=tuple(told["against"]),
        top_k=told["top_k"],
        threshold=told["threshold"],
    )


def _ruled(run: ConceptRun, pictures: StageSet) -> dict[str, bool]:
    """What people decided on the records of these pictures; of other pairs' records it says nothing here."""
    drawn = drawn_by_record(pictures)
    ruled = decisions.rulings(decisions.votes(run, pictures.fingerprint))
    return {record_id: accepted for record_id, accepted in ruled.items() if record_id in drawn}


def _decided(run: ConceptRun, asked: Mapping[str, Any]) -> FilterResult:
    pairs_set = run.open(PAIRS, asked["pairs"])
    pictures = run.open(IMAGES, asked["pictures"])
    verdicts = run.open(VERDICTS, asked["verdicts"])
    ruled = _ruled(run, pictures)
    settings = {key: value for key, value in asked.items() if key != "people"}
    if ruled:
        settings["people"] = decisions.fingerprint(ruled)
    stage = run.stage_set(ACCEPTANCE, settings)
    pairs = pairs_set.records(PromptPair)
    seen = verdicts_by_record(verdicts)
    if not stage.done(0):
        rows = _accepted(run, asked, pairs, seen, ruled)
        stage.write_shard(0, to_table(Acceptance, rows))
    decided = stage.records(Acceptance)
    filtered = _count(stage, verdicts, pairs, decided, seen, len(ruled))
    stage.finish(
        {
            "pairs": filtered.pairs,
            "accepted_pairs": filtered.accepted_pairs,
            "tests": filtered.tests,
            "accepted_tests": filtered.accepted_tests,
            "reasons": filtered.reasons,
            "near_misses": filtered.near_misses,
            "reviewed": filtered.reviewed,
        }
    )
    return filtered


def _accepted(
    run: ConceptRun,
    asked: Mapping[str, Any],
    pairs: Sequence[PromptPair],
    seen: Seen,
    ruled: Mapping[str, bool],
) -> list[Acceptance]:
    pictures = run.open(IMAGES, asked["pictures"])
    accepted = set(criterion_of(run.open(VERDICTS, asked["verdicts"])).accepted)
    drawn = drawn_by_record(pictures)
    objections = _objections(run, asked.get("bounds", {}), pictures, pairs, seen, accepted)
    return [
        accept(
            pair,
            drawn.get(pair.record_id, set()),
            seen.get(pair.record_id, {}),
            objection=objections.get(pair.record_id),
            people=ruled.get(pair.record_id),
        )
        for pair in pairs
    ]


def _objections(
    run: ConceptRun,
    bounds: Mapping[str, Any],
    pictures: StageSet,
    pairs: Sequence[PromptPair],
    seen: Seen,
    accepted: set[str],
) -> dict[str, Reason]:
    """Record id → the first thing that an optional bound has against it."""
    against: dict[str, Reason] = {}
    if "most_change" in bounds:
        for record_id, how_much in _changes(pictures, seen, accepted):
            if how_much > bounds["most_change"]:
                against[record_id] = "changed_elsewhere"
    if "likeness" in bounds:
        for table in run.open(LIKENESS, bounds["likeness"]).tables():
            for one in from_table(Likeness, table):
                if one.cosine < bounds["clip_floor"]:
                    against[one.record_id] = "off_prompt"
    if "share" in bounds:
        looks = [verdicts_by_record(run.open(VERDICTS, name)) for name in bounds["verdicts"]]
        for pair in pairs:
            roles = {role for role, _ in pair.prompts()}
            holds = sum(accept(pair, roles, look.get(pair.record_id, {})).accepted for look in looks)
            if holds < bounds["share"] * len(looks) - 1e-9:
                against[pair.record_id] = "unsteady"
    return against


def _changes(pictures: StageSet, seen: Seen, accepted: set[str]) -> Iterator[tuple[str, float]]:
    waiting: dict[str, Row] = {}
    for row in _rows(pictures, "record_id", "image", "failure"):
        if row["failure"] is not None:
            continue
        record_id = row["record_id"]
        other = waiting.pop(record_id, None)
        if other is None:
            waiting[record_id] = row
            continue
        boxes = [box for one in seen.get(record_id, {}).values() for box in one.boxes if box.label in accepted]
        try:
            yield record_id, change(decode(other["image"]), decode(row["image"]), boxes)
        except OSError:
            continue  # the judge could not read it either, and said so


def _rows(stage: StageSet, *columns: str) -> Iterator[Row]:
    for table in stage.tables():
        yield from (table.select(columns) if columns else table).to_pylist()


def _count(
    stage: StageSet,
    verdicts: StageSet,
    pairs: Sequence[PromptPair],
    decided: Sequence[Acceptance],
    seen: Seen,
    reviewed: int,
) -> FilterResult:
    splits = Counter(pair.split for pair in pairs)
    accepted = Counter(pair.split for pair, decision in zip(pairs, decided, strict=True) if decision.accepted)
    tallies: defaultdict[str, Counter[str]] = defaultdict(Counter)
    criterion = criterion_of(verdicts)
    for decision in decided:
        if decision.reason is not None:
            tallies["reasons"][decision.reason] += 1
        if decision.reason == "target_absent":
            near = criterion.near_miss(seen[decision.record_id]["target"].top_labels)
            tallies["near"].update([near] if near is not None else [])
    return FilterResult(
        stage=stage,
        judge=verdicts.settings["judge"],
        accepted_pairs=accepted["train"],
        pairs=splits["train"],
        accepted_tests=accepted["test"],
        tests=splits["test"],
        reasons=_ranked(tallies["reasons"]),
        near_misses=_ranked(tallies["near"]),
        reviewed=reviewed,
    )


def _ranked(tally: Counter[str]) -> dict[str, int]:
    return dict(sorted(tally.items(), key=lambda item: (-item[1], item[0])))
