"""Write acceptance sets: apply the accept rule, the optional bounds and the reviewers' decisions to each record.

An acceptance set's settings name everything that decides it, so that it can be written again after a review without
running a judge.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ecgvf.core.files import JSON
from ecgvf.core.png import decode
from ecgvf.core.records import Acceptance, PromptPair, Reason, Role, Split, Verdict, from_table, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, VERDICTS, StageSet
from ecgvf.filter import decisions
from ecgvf.filter.accept import RULE, accept_record
from ecgvf.filter.bounds import change
from ecgvf.filter.clip_score import CLIP_SCORES, ClipScore
from ecgvf.judges.ensemble import label_prefix, near_miss
from ecgvf.judges.factory import options_of
from ecgvf.judges.judge import Criterion
from ecgvf.pairs.splits import COUNT_NAMES, counts_text

Verdicts = dict[str, dict[Role, Verdict]]
"""Record id → role → verdict."""


@dataclass(frozen=True, slots=True)
class FilterResult:
    """The outcome of stage 3: an acceptance set, and what its summary says."""

    acceptance: StageSet

    @property
    def judge(self) -> str:
        """Name of the judge."""
        return str(self.acceptance.source(VERDICTS).settings["judge"])

    @property
    def counts(self) -> dict[Split, int]:
        """Split → number of its records."""
        return {split: self._count(key) for split, key in COUNT_NAMES.items()}

    @property
    def accepted(self) -> dict[Split, int]:
        """Split → number of its records that were accepted."""
        return {split: self._count(f"accepted_{key}") for split, key in COUNT_NAMES.items()}

    @property
    def reasons(self) -> dict[str, int]:
        """Reason → rejected records, most frequent first."""
        return dict(self.acceptance.summary["reasons"])

    @property
    def failures(self) -> dict[str, int]:
        """Why the judges failed → number of images, the three most frequent first."""
        reasons = self.acceptance.source(VERDICTS).read_column("failure")
        return dict(Counter(reason for reason in reasons if reason is not None).most_common(3))

    @property
    def near_misses(self) -> dict[str, int]:
        """Near label → target images that showed it instead of the concept, most frequent first."""
        return dict(self.acceptance.summary["near_misses"])

    @property
    def reviewed(self) -> int:
        """Records that reviewers decided."""
        return self._count("reviewed")

    @property
    def evaluation(self) -> str:
        """The numbers of the other splits, in words."""
        return self._text("validation", "test", "retain")

    def __str__(self) -> str:
        return f"{self.judge} accepts {self._text(*COUNT_NAMES)}"

    def _text(self, *splits: Split) -> str:
        counts = self.counts
        shown = [split for split in splits if split != "retain" or counts["retain"]]
        return counts_text({split: self.accepted[split] for split in shown}, {split: counts[split] for split in shown})

    def _count(self, key: str) -> int:
        return int(self.acceptance.summary.get(key, 0))  # 0 without a retain split, and in sets from before validation


def write_acceptance(
    images: StageSet, verdicts: StageSet, bounds: Mapping[str, Any] | None = None, *, current: bool = True
) -> FilterResult:
    """Accept or reject every record of ``images`` and, if ``current``, make the result current.

    ``bounds`` is the result of ``ecgvf.filter.stage.measure_bounds``.
    """
    settings = {
        "pairs": images.settings["pairs"],
        "pictures": images.fingerprint,
        "verdicts": verdicts.fingerprint,
        "rule": RULE,
        **({"bounds": dict(bounds)} if bounds else {}),
    }
    return _write(images, verdicts, settings, current=current)


def current_acceptance(run: ConceptRun) -> StageSet:
    """The current acceptance set, written again if there are new reviews. Raises ``StageMissing``."""
    current = run.current(ACCEPTANCE)
    images, verdicts = current.source(IMAGES), current.source(VERDICTS)
    reviewed = _reviewed(images, verdicts)
    if (decisions.fingerprint(reviewed) if reviewed else None) == current.settings.get("people"):
        return current
    settings = {key: value for key, value in current.settings.items() if key != "people"}
    return _write(images, verdicts, settings).acceptance


def acceptance_without_review(acceptance: StageSet) -> list[Acceptance]:
    """What the accept rule and the bounds decide without the reviewers, in record order."""
    return _accept(acceptance, verdicts_by_record(acceptance.source(VERDICTS)), {})


def verdicts_by_record(verdicts: StageSet) -> Verdicts:
    """Record id → role → verdict, for each image that could be rendered."""
    by_record: Verdicts = {}
    for table in verdicts.tables():
        for verdict in from_table(Verdict, table):
            by_record.setdefault(verdict.record_id, {})[verdict.role] = verdict
    return by_record


def criterion_of(verdicts: StageSet) -> Criterion:
    """The criterion of a verdict set's judge."""
    stored = {field.name: verdicts.settings[field.name] for field in fields(Criterion)}
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    return Criterion(**values)


def criteria_of(verdicts: StageSet) -> dict[str, Criterion]:
    """``ensemble.criteria`` of a verdict set's judge."""
    by_prefix = {label_prefix(name): criterion for name, criterion in _members(verdicts).items()}
    return by_prefix or {"": criterion_of(verdicts)}


def judge_options(verdicts: StageSet) -> JSON:
    """The options that create a verdict set's judge again (``JudgeOptions.recorded``), but for its weights."""
    criteria = _members(verdicts) or {verdicts.settings["judge"]: criterion_of(verdicts)}
    return options_of(criteria, verdicts.settings.get("combine", "all")).recorded()


def _members(verdicts: StageSet) -> dict[str, Criterion]:
    """The judges of an ensemble; empty for a single judge."""
    members = [verdicts.run.open(VERDICTS, part) for part in verdicts.settings.get("parts", [])]
    return {member.settings["judge"]: criterion_of(member) for member in members}


def _write(images: StageSet, verdicts: StageSet, settings: Mapping[str, Any], *, current: bool = True) -> FilterResult:
    if reviewed := _reviewed(images, verdicts):
        settings = {**settings, "people": decisions.fingerprint(reviewed)}
    acceptance, by_record = images.run.stage_set(ACCEPTANCE, settings), verdicts_by_record(verdicts)
    if not acceptance.done(0):
        acceptance.write_shard(0, to_table(Acceptance, _accept(acceptance, by_record, reviewed)))
    acceptance.finish(_summary(acceptance, by_record) | {"reviewed": len(reviewed)}, current=current)
    return FilterResult(acceptance)


def _reviewed(images: StageSet, verdicts: StageSet) -> dict[str, bool]:
    """The reviewers' decisions on the records of ``images``, without those on records of other pairs."""
    reviewed = decisions.majority(decisions.votes(images.run, images.fingerprint))
    if not reviewed:
        return {}
    judged = {record_id for table in verdicts.tables(["record_id"]) for record_id in table["record_id"].to_pylist()}
    return {record_id: accepted for record_id, accepted in reviewed.items() if record_id in judged}


def _accept(acceptance: StageSet, verdicts: Verdicts, reviewed: Mapping[str, bool]) -> list[Acceptance]:
    pairs = acceptance.source(PAIRS).records(PromptPair)
    objections = _objections(acceptance, pairs, verdicts)
    return [
        accept_record(
            pair,
            verdicts.get(pair.record_id, {}),
            objection=objections.get(pair.record_id),
            review=reviewed.get(pair.record_id),
        )
        for pair in pairs
    ]


def _objections(acceptance: StageSet, pairs: list[PromptPair], verdicts: Verdicts) -> dict[str, Reason]:
    """Record id → the reason of an optional bound that the record violates."""
    bounds = acceptance.settings.get("bounds", {})
    judged = {pair.record_id: pair.judged_roles() for pair in pairs}
    objections: dict[str, Reason] = {}
    if "most_change" in bounds:
        for record_id, amount in _changes(acceptance, verdicts):
            if amount > bounds["most_change"] and "surrogate" in judged[record_id]:
                objections[record_id] = "changed_elsewhere"
    if "likeness" in bounds:
        for table in acceptance.run.open(CLIP_SCORES, bounds["likeness"]).tables():
            for score in from_table(ClipScore, table):
                if score.cosine < bounds["clip_floor"] and score.role in judged[score.record_id]:
                    objections[score.record_id] = "off_prompt"
    if "share" in bounds:
        by_seed = [verdicts_by_record(acceptance.run.open(VERDICTS, set_id)) for set_id in bounds["verdicts"]]
        for pair in pairs:
            passed = sum(accept_record(pair, seed.get(pair.record_id, {})).accepted for seed in by_seed)
            if passed < bounds["share"] * len(by_seed) - 1e-9:
                objections[pair.record_id] = "unsteady"
    return objections


def _changes(acceptance: StageSet, verdicts: Verdicts) -> Iterator[tuple[str, float]]:
    """(record id, change outside the concept) of each pair with two readable images."""
    accepted_labels = criterion_of(acceptance.source(VERDICTS)).accepted
    for table in acceptance.source(IMAGES).tables(["record_id", "image", "failure"]):
        pngs: dict[str, list[bytes]] = {}
        for row in table.to_pylist():
            if row["failure"] is None:
                pngs.setdefault(row["record_id"], []).append(row["image"])
        for record_id, pair in pngs.items():
            if len(pair) < 2:
                continue
            found = [box for verdict in verdicts.get(record_id, {}).values() for box in verdict.boxes]
            try:
                target, surrogate = map(decode, pair)
            except OSError:
                continue  # the judge failed on it as well
            yield record_id, change(target, surrogate, [box for box in found if box.label in accepted_labels])


def _summary(acceptance: StageSet, verdicts: Verdicts) -> dict[str, Any]:
    pairs, rows = acceptance.source(PAIRS).records(PromptPair), acceptance.records(Acceptance)
    splits = Counter(pair.split for pair in pairs)
    accepted = Counter(pair.split for pair, row in zip(pairs, rows, strict=True) if row.accepted)
    criteria = criteria_of(acceptance.source(VERDICTS))
    absent = [
        verdicts[row.record_id]["target"]
        for pair, row in zip(pairs, rows, strict=True)
        if row.reason == "target_absent" and pair.split != "retain"
    ]
    near_misses = [near_miss(criteria, verdict.top_labels) for verdict in absent]
    counts: dict[str, int] = {}
    for split, key in COUNT_NAMES.items():
        if split != "retain" or splits[split]:
            counts |= {key: splits[split], f"accepted_{key}": accepted[split]}
    return {
        **counts,
        "reasons": _ranked(Counter(row.reason for row in rows if row.reason is not None)),
        "near_misses": _ranked(Counter(label for label in near_misses if label is not None)),
    }


def _ranked(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
