"""The writers of ``ecgvf build``, which in each round write the pairs that are still missing.

A later round continues the numbering of a writer's calls and lists the prompts it wrote before. So its calls differ
from all earlier ones, and no stored answer is taken for theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from ecgvf.core.concepts import Concept, SurrogateChoice, check_surrogate_choice
from ecgvf.core.errors import SettingsError
from ecgvf.core.records import Split
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import StageSet
from ecgvf.llm.budget import DEFAULT_USD, CostEstimate, check_budget
from ecgvf.llm.ledger import Ledger
from ecgvf.llm.registry import LLMWriter
from ecgvf.pairs.answer_reader import AnswerReader
from ecgvf.pairs.default_counts import check_count
from ecgvf.pairs.generate import note_missing, split_generators
from ecgvf.pairs.generation_plan import GenerationPlan, estimate_costs, split_evenly, split_into_calls
from ecgvf.pairs.llm_writers import complete, has_answers, open_ledger
from ecgvf.pairs.offline import OfflineWriter
from ecgvf.pairs.splits import SplitGenerator, split_records, write_set
from ecgvf.pairs.templates import load


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRequest:
    """What to request from one writer in one round."""

    number: int
    counts: dict[Split, int]
    """Split → number of prompts."""
    seed: int
    earlier: Sequence[StageSet]
    """The sets of earlier rounds, whose prompts are not written again."""


class RoundWriter(Protocol):
    """A writer that can write in rounds."""

    @property
    def name(self) -> str: ...

    @property
    def patience(self) -> int:
        """Number of rounds without a new pair after which the writer is not asked again."""

    def write(self, run: ConceptRun, request: RoundRequest) -> StageSet | None:
        """Write one round; return its finished set, or None if there was no answer. Raises what stage 1 raises."""


@dataclass(frozen=True, slots=True)
class OfflineRounds:
    """Rounds of the offline writer."""

    writer: OfflineWriter
    patience: int = 1  # it tries many times within a round

    @property
    def name(self) -> str:
        return self.writer.name

    def write(self, run: ConceptRun, request: RoundRequest) -> StageSet | None:
        generators = split_generators(
            self.writer, run.concept, request.counts, seed=request.seed, build_round=request.number
        )
        stage_set = _write_round(run, generators, self.name, request)
        note_missing(stage_set, self.writer, request.counts)
        return stage_set


@dataclass(frozen=True, slots=True)
class LLMRounds:
    """Rounds of an LLM, under a budget that it shares with the other writers of the build."""

    writer: LLMWriter
    all_writers: Sequence[LLMWriter]
    budget_usd: Decimal = DEFAULT_USD
    templates: Path | None = None
    surrogate_choice: SurrogateChoice = "single"
    patience: int = 3

    def __post_init__(self) -> None:
        check_budget(self.budget_usd)
        check_surrogate_choice(self.surrogate_choice)

    @property
    def name(self) -> str:
        return self.writer.name

    def plan(self, concept: Concept, split: Split, count: int, earlier: Sequence[StageSet] = ()) -> GenerationPlan:
        """The calls for ``count`` pairs or evaluation prompts, after the sets of the earlier rounds."""
        records = (record for stage_set in earlier for record in split_records(stage_set, split))
        own = [record for record in records if record.writer == self.name]
        template = load(concept.kind, split, self.templates)
        return GenerationPlan(
            concept=concept,
            split=split,
            template=template,
            reader=AnswerReader(concept, template.language, self.surrogate_choice),
            writer=self.writer,
            counts=split_into_calls(count),
            build=True,
            first_iteration=1 + max((record.iteration for record in own), default=-1),
            kept=tuple(record.target for record in own if record.reason is None),
        )

    def write(self, run: ConceptRun, request: RoundRequest) -> StageSet | None:
        models = {writer.name: writer.config.model for writer in self.all_writers}
        ledger = Ledger.load(run)
        hashes = {split: load(run.concept.kind, split, self.templates).hash for split in request.counts}

        def in_budget(intent: Mapping[str, Any]) -> bool:
            writer, split = intent["writer"], intent["split"]
            return bool(
                intent.get("build")  # not a call of another command
                and models.get(writer) == intent["model"]
                and hashes.get(split) == intent["request"]["template_hash"]
                and ledger.restarts(writer, split) == intent["restarts"]
            )

        generators = dict.fromkeys(request.counts, SplitGenerator())
        for split, count in request.counts.items():
            if count:
                plan = self.plan(run.concept, split, count, request.earlier)
                generators[split] = complete(run, [plan], budget_usd=self.budget_usd, in_budget=in_budget)
        if not any(map(has_answers, generators.values())):
            return None
        return _write_round(run, generators, self.name, request)


def _write_round(
    run: ConceptRun, generators: Mapping[Split, SplitGenerator], writer: str, request: RoundRequest
) -> StageSet:
    # Not current: a killed build leaves no single round as the pairs that other commands read.
    return write_set(run, generators, writer, build_round=request.number, earlier=request.earlier, current=False)


def goals(accepted: int, writers: int) -> list[int]:
    """The number of accepted pairs that each writer must reach. Raises ``SettingsError`` for less than one each,
    and for more than ``MAX_PROMPTS``."""
    if accepted < writers:
        raise SettingsError(f"--accepted {accepted}: it must be at least one pair for each of the {writers} writers")
    check_count("--accepted", accepted)
    return split_evenly(accepted, writers)


def first_round(
    run: ConceptRun, writers: Sequence[LLMRounds], *, accepted: int, validation: int, tests: int
) -> tuple[list[GenerationPlan], list[CostEstimate]]:
    """The writers' plans for pairs in the first round, and the estimates of all of its calls. Sends nothing."""
    plans: list[GenerationPlan] = []
    estimates: list[CostEstimate] = []
    counts: dict[Split, list[int]] = {
        "train": goals(accepted, len(writers)),
        "validation": split_evenly(validation, len(writers)),
        "test": split_evenly(tests, len(writers)),
    }
    for split, shares in counts.items():
        for writer, count in zip(writers, shares, strict=True):
            if count:
                plans.append(writer.plan(run.concept, split, count))
                estimates += estimate_costs(plans[-1:], open_ledger(run, plans[-1:]))
    return [plan for plan in plans if plan.split == "train"], estimates
