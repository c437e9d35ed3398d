"""The writers of a build: each is asked, round after round, for the pairs that it still owes.

A later round numbers its calls on and lists what the writer has given before, so that no answer that is on the disk
stands for one that was never asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from ecgvf.core.concepts import Concept
from ecgvf.core.errors import SettingsError
from ecgvf.core.records import PromptPair, Split, from_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import StageSet
from ecgvf.llm import budget as money
from ecgvf.llm.dispatch import Plan, Seat
from ecgvf.llm.ledger import Ledger
from ecgvf.llm.registry import Named
from ecgvf.pairs.generate import SHARDS, SplitGenerator, generate_pairs, write_set
from ecgvf.pairs.llm_writers import Foreseen, collect, foreseen, in_calls, opened
from ecgvf.pairs.templates import load
from ecgvf.pairs.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one writer owes in one round, after the sets of the rounds ``before``."""

    number: int
    pairs: int
    tests: int
    seed: int
    before: Sequence[StageSet]


class BuildWriter(Protocol):
    """Who can be asked round after round."""

    @property
    def name(self) -> str: ...

    @property
    def patience(self) -> int:
        """After so many rounds in a row without one new pair it has nothing left to say."""

    def write(self, run: ConceptRun, round: Round) -> StageSet | None:
        """The finished set of a round; None where there was no answer. Raises what stage 1 raises."""


@dataclass(frozen=True, slots=True)
class Free:
    """A writer that costs nothing."""

    writer: Writer
    patience: int = 1  # it tries often enough within a round

    @property
    def name(self) -> str:
        return self.writer.name

    def write(self, run: ConceptRun, round: Round) -> StageSet | None:
        return generate_pairs(
            run,
            pairs=round.pairs,
            tests=round.tests,
            seed=round.seed,
            writer=self.writer,
            build_round=round.number,
            earlier=round.before,
        )


@dataclass(frozen=True, slots=True)
class Paid:
    """An LLM, under a budget that it shares with the others of the ``team``."""

    writer: Named
    team: Sequence[Named]
    budget_usd: Decimal = money.DEFAULT_USD
    templates: Path | None = None
    patience: int = 3

    def __post_init__(self) -> None:
        money.checked(self.budget_usd)

    @property
    def name(self) -> str:
        return self.writer.name

    def plan(self, concept: Concept, split: Split, wanted: int, before: Sequence[StageSet] = ()) -> Plan:
        """The calls for ``wanted`` pairs or test prompts, ten in each at most."""
        rows = (row for one in before for row in from_table(PromptPair, one.read_shard(SHARDS[split])))
        own = [row for row in rows if row.writer == self.name]
        seat = Seat(
            self.writer,
            in_calls(wanted),
            first=1 + max((row.iteration for row in own), default=-1),
            kept=tuple(row.target for row in own if row.reason is None),
        )
        return Plan(concept, split, load(concept.kind, split, self.templates), (seat,))

    def write(self, run: ConceptRun, round: Round) -> StageSet | None:
        models = {one.name: one.entry.model for one in self.team}
        ledger = Ledger(Ledger.of(run))

        def counts(intent: Mapping[str, Any]) -> bool:
            now = ledger.round(intent["writer"], intent["split"])
            return bool(intent["round"] == now and models.get(intent["writer"]) == intent["model"])

        wanted: dict[Split, int] = {"train": round.pairs, "test": round.tests}
        got = {
            split: collect(
                run, self.plan(run.concept, split, number, round.before), budget_usd=self.budget_usd, counts=counts
            )
            for split, number in wanted.items()
            if number
        }
        if not any(one.answered for one in got.values()):
            return None
        written = {split: replace(one.part, spending=one.told()) for split, one in got.items()}
        parts = {split: written.get(split, SplitGenerator()) for split in wanted}
        return write_set(run, parts, self.name, build_round=round.number, earlier=round.before)


def shares(total: int, parts: int) -> list[int]:
    """``total`` in ``parts`` that differ by one at most, the greater first."""
    return [total // parts + (place < total % parts) for place in range(parts)]


def goals(accepted: int, writers: int) -> list[int]:
    """How many accepted pairs each of so many writers owes. Raises ``SettingsError`` where one would owe none."""
    if accepted < writers:
        raise SettingsError(f"--accepted {accepted}: at least one pair of each of the {writers} writers")
    return shares(accepted, writers)


def first_round(run: ConceptRun, team: Sequence[Paid], *, accepted: int, tests: int) -> tuple[Plan, list[Foreseen]]:
    """Who writes in the first round, and every call of it with what it will cost; nothing is sent."""
    plans: list[Plan] = []
    calls: list[Foreseen] = []
    wanted: dict[Split, list[int]] = {"train": goals(accepted, len(team)), "test": shares(tests, len(team))}
    for split, numbers in wanted.items():
        for one, share in zip(team, numbers, strict=True):
            if share > 0:
                plans.append(one.plan(run.concept, split, share))
                calls += foreseen(plans[-1], opened(run, plans[-1]))
    return replace(plans[0], seats=tuple(plan.seats[0] for plan in plans[: len(team)])), calls
