"""The cases to review: every rendered record, with the judge's verdicts and the reviewers' votes."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ecgvf.core.records import Acceptance, PromptPair, Role, Verdict
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, VERDICTS
from ecgvf.filter import decisions
from ecgvf.filter.acceptance import acceptance_without_review, criteria_of, current_acceptance, verdicts_by_record
from ecgvf.filter.compare import Agreement, agreement
from ecgvf.judges.ensemble import near_miss

Show = Literal["all", "undecided", "accepted", "rejected", "disputed"]
Order = Literal["written", "doubtful"]

CACHED_SHARDS = 4
"""Image shards kept in memory; reviewers go through them in order."""


@dataclass(frozen=True, slots=True)
class Case:
    """One record to review."""

    pair: PromptPair
    judged: Acceptance
    """The decision of the judge and the bounds, without reviewers."""
    verdicts: dict[Role, Verdict]
    near_miss: str | None

    def score(self, role: Role) -> float:
        """The judge's score of an image, in [0, 1]; 0 without a verdict."""
        return self.verdicts[role].score if role in self.verdicts else 0.0

    @property
    def margin(self) -> float:
        """In [0, 1]: near 0, the judge is in doubt; 1 if it has no score of an image that decides.

        Of a training pair, the difference between the target's and the surrogate's score; of other records, whose
        target decides alone, twice the distance of its score from 0.5.
        """
        if self.judged.reason in ("render_failed", "judge_failed"):
            return 1.0
        if "surrogate" in self.pair.judged_roles():
            return abs(self.score("target") - self.score("surrogate"))
        return abs(2 * self.score("target") - 1)


class Cases:
    """The cases of a concept's current acceptance set. Raises ``StageMissing`` if there is none."""

    def __init__(self, run: ConceptRun) -> None:
        self._run, self.concept = run, run.concept
        acceptance = current_acceptance(run)
        self._images, verdicts = acceptance.source(IMAGES), acceptance.source(VERDICTS)
        self.judge: str = verdicts.settings["judge"]
        self._shard_of: dict[str, int] = {}
        # An image that could be rendered has a verdict, in the shard of the same index.
        for index, table in enumerate(verdicts.tables(["record_id"])):
            self._shard_of |= dict.fromkeys(table["record_id"].to_pylist(), index)
        self._shard_images = lru_cache(CACHED_SHARDS)(self._read_images)
        criteria, verdicts_of = criteria_of(verdicts), verdicts_by_record(verdicts)
        pairs = acceptance.source(PAIRS).records(PromptPair)
        self.by_id: dict[str, Case] = {}
        for pair, judged in zip(pairs, acceptance_without_review(acceptance), strict=True):
            if pair.record_id in self._shard_of:
                by_role = verdicts_of.get(pair.record_id, {})
                target = by_role.get("target")
                near = near_miss(criteria, target.top_labels) if target and not target.present else None
                self.by_id[pair.record_id] = Case(pair, judged, by_role, near)
        self.writers = sorted({case.pair.writer for case in self.by_id.values()})
        self.reasons = sorted({case.judged.reason for case in self.by_id.values() if case.judged.reason})

    def votes(self) -> decisions.Votes:
        """Every reviewer's last decision on each record, read again from disk: others may be reviewing, too."""
        return decisions.votes(self._run, self._images.fingerprint)

    def decide(self, record_id: str, reviewer: str, accepted: bool | None) -> None:
        """Record a decision of ``reviewer`` on disk; None withdraws an earlier one."""
        decisions.append(
            self._run,
            reviewer=reviewer,
            pictures=self._images.fingerprint,
            record_id=record_id,
            accepted=accepted,
        )

    def select(
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
        """The cases that pass a reviewer's filters, in the order written or with the most doubtful first.

        ``least`` and ``most`` are bounds of the target's score.
        """
        majority = decisions.majority(votes)
        selected = []
        for record_id, case in self.by_id.items():
            by_reviewer = votes.get(record_id, {})
            accepted = majority.get(record_id, case.judged.accepted)
            passes = {
                "all": True,
                "undecided": reviewer not in by_reviewer,
                "accepted": accepted,
                "rejected": not accepted,
                "disputed": any(vote != case.judged.accepted for vote in by_reviewer.values()),
            }[show]
            passes = passes and writer in {None, case.pair.writer} and reason in {None, case.judged.reason}
            if passes and least <= case.score("target") <= most:
                selected.append(case)
        return sorted(selected, key=lambda case: case.margin) if order == "doubtful" else selected

    def image(self, record_id: str, role: str) -> bytes | None:
        """The PNG of a record's image; None if there is none."""
        index = self._shard_of.get(record_id)
        return None if index is None else self._shard_images(index).get((record_id, role))

    def agreements(self, votes: decisions.Votes) -> list[tuple[str, str, Agreement]]:
        """The agreement of each reviewer with the judge and with each other reviewer, on the records both decided."""
        reviewers = sorted({reviewer for by_reviewer in votes.values() for reviewer in by_reviewer})
        judged = {record_id: case.judged.accepted for record_id, case in self.by_id.items()}
        answers: dict[str, dict[str, bool]] = {reviewer: {} for reviewer in reviewers}
        for record_id in votes.keys() & self.by_id.keys():
            for reviewer, accepted in votes[record_id].items():
                answers[reviewer][record_id] = accepted
        found = []
        for index, reviewer in enumerate(reviewers):
            found.append((reviewer, self.judge, _agreement(answers[reviewer], judged)))
            for second in reviewers[index + 1 :]:
                found.append((reviewer, second, _agreement(answers[reviewer], answers[second])))
        return found

    def progress(self, votes: decisions.Votes, reviewer: str) -> dict[str, int]:
        """Numbers of records: all, decided by ``reviewer``, and overruled by all reviewers together."""
        known = {record_id: votes[record_id] for record_id in votes.keys() & self.by_id.keys()}
        return {
            "records": len(self.by_id),
            "decided_by_you": sum(reviewer in by_reviewer for by_reviewer in known.values()),
            "overruled": sum(
                accepted != self.by_id[record_id].judged.accepted
                for record_id, accepted in decisions.majority(known).items()
            ),
        }

    def _read_images(self, index: int) -> dict[tuple[str, str], bytes]:
        rows = self._images.read_shard(index, ["record_id", "role", "image", "failure"]).to_pylist()
        return {(row["record_id"], row["role"]): row["image"] for row in rows if row["failure"] is None}


def _agreement(first: dict[str, bool], second: dict[str, bool]) -> Agreement:
    both = [record_id for record_id in first if record_id in second]
    return agreement([first[record_id] for record_id in both], [second[record_id] for record_id in both])
