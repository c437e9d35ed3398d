"""The calls to LLMs for the pairs or prompts of a concept, and what they will cost.

A call lists the prompts that the same writer wrote before, so that it does not repeat them. It does not list prompts by
other writers, so that no writer has to wait for another.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ecgvf.core.concepts import Concept, SurrogateChoice, check_surrogate_choice
from ecgvf.core.errors import SettingsError
from ecgvf.core.records import Split
from ecgvf.core.text import strip_thinking
from ecgvf.llm import budget
from ecgvf.llm.attempt import Attempt
from ecgvf.llm.budget import CostEstimate
from ecgvf.llm.calls import Call
from ecgvf.llm.dispatch import Conversation, next_call
from ecgvf.llm.ledger import Ledger
from ecgvf.llm.registry import LLMWriter
from ecgvf.pairs.answer_reader import REPAIR, AnswerReader
from ecgvf.pairs.captions import captioned_concepts
from ecgvf.pairs.checks import PromptIndex
from ecgvf.pairs.default_counts import (
    ITERATIONS,
    PROMPTS_PER_CALL,
    RETAINED_PROMPTS,
    TEST_PROMPTS,
    VALIDATION_PROMPTS,
    check_count,
)
from ecgvf.pairs.parsing import answer_schema
from ecgvf.pairs.splits import check_split
from ecgvf.pairs.templates import Template, load

DEFAULT_COUNT: Mapping[Split, int] = {
    "train": PROMPTS_PER_CALL,
    "validation": VALIDATION_PROMPTS,
    "test": TEST_PROMPTS,
    "retain": RETAINED_PROMPTS,
}
"""Split → how many prompts LLMs write: pairs in each call, prompts, or prompts of each retained concept."""

LISTED_PROMPTS, LISTED_CHARACTERS = 60, 90
"""How many of the writer's latest target prompts a call lists, and how many characters of each."""

_LISTED_TOKENS = 25
"""Tokens of a listed prompt, in a cost estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """The calls to one writer for prompts of one split: a ``dispatch.WriterJob``."""

    concept: Concept
    split: Split
    template: Template
    reader: AnswerReader
    writer: LLMWriter
    counts: tuple[int, ...]
    """How many prompts each call requests."""
    batch: bool = False
    """Whether all calls are sent at once, through a batch endpoint; then they cannot list earlier prompts."""
    restarts: int = 0
    """How many times ``--fresh`` started this writer over on this split."""
    first_iteration: int = 0
    """Number of calls to the writer in earlier rounds of a build."""
    kept: tuple[str, ...] = ()
    """The accepted target prompts from those calls."""
    build: bool = False
    """Whether the budget of ``ecgvf build`` pays for the calls."""
    retained: tuple[tuple[str, ...], ...] = ()
    """For the retain split: the concepts to request prompts of, call by call."""

    def owns(self, intent: Mapping[str, Any]) -> bool:
        """Whether a ledger's intent belongs to this plan, and so to its budget, whatever earlier prompts it lists."""
        iteration = intent["iteration"] - self.first_iteration
        if intent["writer"] != self.writer.name or not 0 <= iteration < len(self.counts):
            return False
        return bool((intent.get("base") or intent["call"]) == self.call(iteration).hash)

    def conversations(self) -> list[Conversation]:
        """The calls: one conversation, or in a batch a conversation per call."""
        iterations = range(len(self.counts))
        return [self._converse([iteration]) for iteration in iterations] if self.batch else [self._converse(iterations)]

    def call(self, iteration: int, kept: Sequence[str] = (), repair: str = "") -> Call:
        """The call at ``iteration``; ``repair`` is the text to add after an answer that could not be parsed."""
        config = self.writer.config
        number, count = self.first_iteration + iteration, self.counts[iteration]
        listed = [
            text if len(text) <= LISTED_CHARACTERS else text[:LISTED_CHARACTERS] + "…"
            for text in kept[-LISTED_PROMPTS:]
        ]
        retained = self.retained[iteration] if self.retained else ()
        prompt = self.template.render(
            self.concept,
            count=count,
            iteration=number,
            kept=listed,
            retained=retained,
            surrogate_choice=self.reader.surrogate_choice,
        )
        return Call(
            writer=self.writer.name,
            sdk=config.sdk,
            model=config.model,
            concept=self.concept.name,
            split=self.split,
            iteration=number,
            restarts=self.restarts,
            base_url=config.base_url,
            count=count,
            prompt=f"{prompt}\n{repair}" if repair else prompt,
            template=self.template.name,
            template_hash=self.template.hash,
            structure=config.structure,
            max_output_tokens=config.max_output_tokens,
            repair=bool(repair),
            build=self.build,
            base=self.call(iteration).hash if kept or repair else "",
            schema=answer_schema(self.split),
        )

    def _converse(self, iterations: Sequence[int]) -> Conversation:
        kept, index = list(self.kept), PromptIndex(self.kept)
        for iteration in iterations:
            answered = yield self.call(iteration, kept)
            if answered is not None and (repair := self._repair(answered)):
                answered = yield self.call(iteration, kept, repair)
            if answered is not None:
                kept += self._accepted(answered, self.counts[iteration], index)

    def _accepted(self, answered: Attempt, count: int, index: PromptIndex) -> list[str]:
        """The first ``count`` target prompts of an answer that pass the checks and are new; they join ``index``."""
        accepted: list[str] = []
        for draft in self.reader.drafts(answered):
            if len(accepted) == count:
                break
            if draft.fault is None and index.near_duplicate(draft.target) is None:
                accepted.append(draft.target)
                index.add(draft.target)
        return accepted

    def _repair(self, answered: Attempt) -> str:
        """The text to add in a repair call: what was wrong. "" if a repair is not needed or would not help.

        It is needed if nothing in a complete answer could be parsed. It would not help if the provider enforces a
        schema, nor after a refusal, a cut-off answer or another repair.
        """
        intent, reply = answered.intent, answered.reply
        if reply.outcome != "complete" or intent["request"]["structure"] == "schema" or intent["repair"]:
            return ""
        drafts = self.reader.drafts(answered)
        if any(draft.parsed for draft in drafts):
            return ""
        fault = drafts[0].fault if drafts else "the list was empty"
        beginning = strip_thinking(reply.text)[:300]
        return f"{REPAIR}: {fault}. It began:\n\n{beginning}\n\nAnswer again, with the JSON object alone."


def plan_generation(
    concept: Concept,
    writers: Sequence[LLMWriter],
    *,
    split: Split = "train",
    count: int | None = None,
    iterations: int | None = None,
    surrogate_choice: SurrogateChoice = "single",
    templates: Path | None = None,
    batch: bool = False,
) -> list[GenerationPlan]:
    """Plan the calls for one split, a plan per writer.

    ``train``: ``count`` pairs in each of ``iterations`` calls (None: ``ITERATIONS``) to each writer. The other splits
    are shared evenly among the writers: ``count`` prompts, or for ``retain`` ``count`` of each retained concept. None
    is the ``DEFAULT_COUNT``. ``surrogate_choice`` is what replaces the concept, ``templates`` a folder of the user's
    own (None: the shipped ones). Raises ``SettingsError`` for an unknown ``split`` or ``surrogate_choice``, a number
    below 1, more than ``MAX_PROMPTS`` prompts, ``iterations`` of another split than ``train``, two writers of one name,
    or a writer without a batch endpoint, and ``TemplateError``.
    """
    check_split(split)
    check_names([writer.name for writer in writers])
    check_surrogate_choice(surrogate_choice)
    if iterations is not None and split != "train":
        raise SettingsError(f"iterations {iterations}: only pairs have iterations; leave it out")
    count = DEFAULT_COUNT[split] if count is None else count
    iterations = ITERATIONS if iterations is None else iterations
    check_count("count", count)
    check_count("iterations", iterations)
    names = [each.name for each in captioned_concepts(concept)] if split == "retain" else []
    total = count * {"train": iterations, "retain": len(names)}.get(split, 1)
    check_count(f"prompts of split {split},", total)
    without = [writer.name for writer in writers if batch and not writer.config.batch]
    if without:
        raise SettingsError(f"no batch endpoint for {', '.join(without)}: leave --batch out, or the writer")
    subjects = names * count
    if split == "train":
        requested = [(count,) * iterations] * len(writers)
    else:
        requested = [split_into_calls(share) for share in split_evenly(total, len(writers))]
    template = load(concept.kind, split, templates)
    reader = AnswerReader(concept, template.language, surrogate_choice)
    next_subjects = iter(subjects)
    return [
        GenerationPlan(
            concept=concept,
            split=split,
            template=template,
            reader=reader,
            writer=writer,
            counts=counts,
            batch=batch,
            retained=tuple(tuple(islice(next_subjects, count)) for count in counts) if subjects else (),
        )
        for writer, counts in zip(writers, requested, strict=True)
        if counts
    ]


def check_names(names: Sequence[str]) -> None:
    """Raise ``SettingsError`` if two writers have one name, by which calls, answers and statistics are told apart."""
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise SettingsError(
            f"several writers are called {repeated[0]!r}: name each writer once, and give several servers of your own "
            "a name each in a registry file"
        )


def split_evenly(total: int, parts: int) -> list[int]:
    """Split ``total`` into ``parts`` numbers that differ by at most 1, larger ones first."""
    return [total // parts + (index < total % parts) for index in range(parts)]


def split_into_calls(total: int) -> tuple[int, ...]:
    """Split ``total`` prompts into calls: the number that each requests."""
    return tuple(min(PROMPTS_PER_CALL, total - requested) for requested in range(0, total, PROMPTS_PER_CALL))


def with_restarts(plans: Sequence[GenerationPlan], ledger: Ledger, fresh: bool = False) -> list[GenerationPlan]:
    """``plans`` with the number of restarts of each writer by the ledger, and another with ``fresh``."""
    return [replace(plan, restarts=ledger.restarts(plan.writer.name, plan.split) + fresh) for plan in plans]


def estimate_costs(plans: Sequence[GenerationPlan], ledger: Ledger, *, fresh: bool = False) -> list[CostEstimate]:
    """The estimate of every call of ``plans``; of repairs, those that are due for certain. Nothing is sent."""
    return [
        estimate
        for plan in with_restarts(plans, ledger, fresh)
        for conversation in plan.conversations()
        for estimate in _estimate(plan, ledger, conversation)
    ]


def _estimate(plan: GenerationPlan, ledger: Ledger, conversation: Conversation) -> Iterator[CostEstimate]:
    rates, exact = plan.writer.batch_rates if plan.batch else plan.writer.rates, True
    call = next_call(conversation)
    while call is not None:
        answered = ledger.answered_attempt(call.hash) if exact else None
        if not call.repair or (exact and answered is None):
            input_tokens, output_tokens = budget.input_tokens(call), budget.likely_output_tokens(call)
            if not exact:  # it will list prompts that are not written yet
                input_tokens += _LISTED_TOKENS * sum(plan.counts[: call.iteration - plan.first_iteration])
            likely, most = rates.cost(input_tokens, output_tokens), rates.cost(input_tokens, call.max_output_tokens)
            yield CostEstimate(call, exact, answered is not None, input_tokens, output_tokens, likely, most)
        exact = exact and answered is not None
        call = next_call(conversation, answered)
