"""What there is to review: every record that was drawn, with what the judge saw and what people said of it."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ecgvf.core.records import Acceptance, PromptPair, Role, Verdict
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, VERDICTS
from ecgvf.filter import decisions
from ecgvf.filter.acceptance import acceptance_without_review, criterion_of, current_acceptance, verdicts_by_record
from ecgvf.filter.compare import Agreement, agreement

Show = Literal["all", "undecided", "accepted", "rejected", "disputed"]
Order = Literal["written", "doubtful"]

KEPT_SHARDS = 4
"""Shards of pictures kept in memory: a shard is what a reviewer walks through."""


@dataclass(frozen=True, slots=True)
class Case:
    """One record to look at."""

    pair: PromptPair
    judged: Acceptance
    """What the judge's verdicts, and the bounds, say by themselves."""
    verdicts: dict[Role, Verdict]
    near_miss: str | None

    @property
    def score(self) -> float:
        """How clear the case is to the judge, in [-1, 1]: the target's score less the surrogate's."""
        surrogate = self.verdicts.get("surrogate")
        target = self.verdicts.get("target")
        return (target.score if target else 0.0) - (surrogate.score if surrogate else 0.0)


class Cases:
    """The cases of the current acceptance set of a concept. Raises ``StageMissing`` where there is none."""

    def __init__(self, run: ConceptRun) -> None:
        self._run, self.concept = run, run.concept
        acceptance = current_acceptance(run)
        self._pictures = run.open(IMAGES, acceptance.settings["pictures"])
        verdicts = run.open(VERDICTS, acceptance.settings["verdicts"])
        self.judge: str = verdicts.settings["judge"]
        self.pictures = self._pictures.fingerprint
        criterion, seen = criterion_of(verdicts), verdicts_by_record(verdicts)
        pairs = run.open(PAIRS, acceptance.settings["pairs"]).records(PromptPair)
        self._shard_of: dict[str, int] = {}
        for index in range(len(self._pictures.shards())):
            for row in self._pictures.read_shard(index).select(["record_id", "failure"]).to_pylist():
                if row["failure"] is None:
                    self._shard_of.setdefault(row["record_id"], index)
        self._kept: OrderedDict[int, dict[tuple[str, str], bytes]] = OrderedDict()
        decided = acceptance_without_review(acceptance)
        self.all: dict[str, Case] = {}
        for pair, decision in zip(pairs, decided, strict=True):
            if pair.record_id in self._shard_of:
                verdicts_of = seen.get(pair.record_id, {})
                target = verdicts_of.get("target")
                near = criterion.near_miss(target.top_labels) if target and not target.present else None
                self.all[pair.record_id] = Case(pair, decision, verdicts_of, near)

    @property
    def writers(self) -> list[str]:
        """Who wrote them, sorted."""
        return sorted({case.pair.writer for case in self.all.values()})

    def votes(self) -> decisions.Votes:
        """What every reviewer last said, read anew: others may be reviewing, too."""
        return decisions.votes(self._run, self.pictures)

    def decide(self, record_id: str, reviewer: str, accepted: bool | None) -> None:
        """Keep what ``reviewer`` said of a record, at once."""
        decisions.append(
            self._run,
            reviewer=reviewer,
            pictures=self.pictures,
            record_id=record_id,
            accepted=accepted,
        )

    def chosen(
        self,
        votes: decisions.Votes,
        reviewer: str,
        *,
        show: Show = "all",
        writer: str | None = None,
        reason: str | None = None,
        least: float = 0.0,
        most: float = 1.0,
        order: Order = "written",
    ) -> list[Case]:
        """The cases that a reviewer wants to see, in the order written or the most doubtful first.

        ``least`` and ``most`` bound the score of the target picture.
        """
        ruled = decisions.majority(votes)
        found = []
        for record_id, case in self.all.items():
            by = votes.get(record_id, {})
            accepted = ruled.get(record_id, case.judged.accepted)
            fits = {
                "all": True,
                "undecided": reviewer not in by,
                "accepted": accepted,
                "rejected": not accepted,
                "disputed": len(set(by.values())) > 1 or any(one != case.judged.accepted for one in by.values()),
            }[show]
            fits = fits and writer in {None, case.pair.writer} and reason in {None, case.judged.reason}
            target = case.verdicts.get("target")
            if fits and least <= (target.score if target else 0.0) <= most:
                found.append(case)
        return sorted(found, key=lambda case: abs(case.score)) if order == "doubtful" else found

    def picture(self, record_id: str, role: str) -> bytes | None:
        """The PNG of a record's picture; None where there is none."""
        index = self._shard_of.get(record_id)
        if index is None:
            return None
        if index not in self._kept:
            rows = self._pictures.read_shard(index).select(["record_id", "role", "image", "failure"]).to_pylist()
            self._kept[index] = {
                (row["record_id"], row["role"]): row["image"] for row in rows if row["failure"] is None
            }
            while len(self._kept) > KEPT_SHARDS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(index)
        return self._kept[index].get((record_id, role))

    def agreements(self, votes: decisions.Votes) -> list[tuple[str, str, Agreement]]:
        """Of every two reviewers, and of every reviewer and the judge, on what both decided."""
        reviewers = sorted({reviewer for by in votes.values() for reviewer in by})
        found = []
        for place, one in enumerate(reviewers):
            mine = {record_id: by[one] for record_id, by in votes.items() if one in by and record_id in self.all}
            judged = {record_id: self.all[record_id].judged.accepted for record_id in mine}
            found.append((one, self.judge, _on_both(mine, judged)))
            for other in reviewers[place + 1 :]:
                theirs = {record_id: by[other] for record_id, by in votes.items() if other in by}
                found.append((one, other, _on_both(mine, theirs)))
        return found


def _on_both(one: dict[str, bool], other: dict[str, bool]) -> Agreement:
    both: Sequence[str] = [record_id for record_id in one if record_id in other]
    return agreement([one[record_id] for record_id in both], [other[record_id] for record_id in both])


def summary(cases: Cases, votes: decisions.Votes, reviewer: str) -> dict[str, Any]:
    """Progress of one reviewer, and what all decided together."""
    here = {record_id: by for record_id, by in votes.items() if record_id in cases.all}
    ruled = decisions.majority(here)
    return {
        "records": len(cases.all),
        "decided_by_you": sum(reviewer in by for by in here.values()),
        "decided": len(ruled),
        "overruled": sum(cases.all[record_id].judged.accepted != accepted for record_id, accepted in ruled.items()),
    }
