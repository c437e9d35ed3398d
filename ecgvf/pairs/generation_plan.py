"""The calls that LLMs have to answer for the pairs or test prompts of a concept, and what they will cost.

A writer's calls list the prompts that it has written before, so that it does not repeat them; what another writer has
written is not listed, so that no writer waits for another.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ecgvf.core.concepts import Concept
from ecgvf.core.errors import SettingsError
from ecgvf.core.records import Split
from ecgvf.llm import budget
from ecgvf.llm.budget import CostEstimate
from ecgvf.llm.calls import Call
from ecgvf.llm.dispatch import Conversation, WriterJob, next_call
from ecgvf.llm.ledger import Attempt, Ledger
from ecgvf.llm.registry import LLMWriter
from ecgvf.pairs.answers import read_answer
from ecgvf.pairs.checks import PromptIndex
from ecgvf.pairs.generate import PROMPTS_PER_CALL
from ecgvf.pairs.parsing import Draft, answer_schema, unparsed
from ecgvf.pairs.templates import Template, load

ITERATIONS = 3
"""Calls per writer, as in the paper (section 5.1)."""

LISTED_PROMPTS, LISTED_CHARACTERS = 60, 90
"""How many of its own target prompts a call lists, the latest, and how much of each."""

_LISTED_TOKENS = 25
"""Tokens of a listed prompt, in a cost estimate."""

_FAULTS = {"refusal": "refused", "filter": "stopped by the content filter", "empty": "empty answer"}


class AnswerReader:
    """Parses and checks each answer once, and remembers its drafts."""

    def __init__(self, concept: Concept, language: str | None) -> None:
        self._concept, self._language = concept, language
        self._drafts: dict[str, list[Draft]] = {}

    def drafts(self, answered: Attempt) -> list[Draft]:
        """The drafts in an answer, each with its fault; an answer without any is one unparsed draft."""
        if answered.call not in self._drafts:
            self._drafts[answered.call] = self._read(answered)
        return self._drafts[answered.call]

    def _read(self, answered: Attempt) -> list[Draft]:
        reply, intent = answered.reply, answered.intent
        if reply.outcome not in ("complete", "length"):
            fault = _FAULTS.get(reply.outcome, "the answer is not in the provider's format")
            fault += f" ({reply.why})" if reply.why else ""
            return [unparsed(fault, reply.text or answered.raw)]
        drafts = read_answer(
            self._concept, reply.text, intent["split"], self._language, prompt=intent["request"]["prompt"]
        )
        if reply.outcome == "length":  # the drafts before the cut are good
            drafts = [
                draft if draft.parsed else unparsed(f"cut off at the token limit: {draft.fault}", draft.raw)
                for draft in drafts
            ]
        return drafts


@dataclass(frozen=True, slots=True)
class WriterShare:
    """One writer's share of a plan."""

    writer: LLMWriter
    counts: tuple[int, ...]
    """How many prompts each of its calls requests."""
    round: int = 0
    """How many times ``--fresh`` started this writer over on this split."""
    first_iteration: int = 0
    """How many calls it had in the earlier rounds of a build."""
    kept: tuple[str, ...] = ()
    """The target prompts that it wrote in those, and that were kept."""


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """Which writers write how many prompts of one split."""

    concept: Concept
    split: Split
    template: Template
    shares: tuple[WriterShare, ...]
    reader: AnswerReader = field(compare=False)
    batch: bool = False
    """Whether all calls are sent at once, through batch endpoints, so that they list no earlier prompts."""

    def job(self, share: WriterShare) -> WriterJob:
        """The share as a job of the dispatcher."""
        return WriterJob(share.writer, partial(self.conversations, share), partial(self._share_owns, share))

    def owns(self, intent: Mapping[str, Any]) -> bool:
        """Whether a ledger's intent belongs to this plan, and so to its budget."""
        return any(self._share_owns(share, intent) for share in self.shares)

    def _share_owns(self, share: WriterShare, intent: Mapping[str, Any]) -> bool:
        expected = (share.writer.name, share.writer.config.model, self.split, share.round)
        if tuple(intent[key] for key in ("writer", "model", "split", "round")) != expected:
            return False
        return bool(0 <= intent["iteration"] - share.first_iteration < len(share.counts))

    def conversations(self, share: WriterShare) -> list[Conversation]:
        """The calls of a share: one after the other, or independent of each other in a batch."""
        iterations = range(len(share.counts))
        if self.batch:
            return [self._converse(share, [iteration]) for iteration in iterations]
        return [self._converse(share, iterations)]

    def call(self, share: WriterShare, iteration: int, kept: Sequence[str] = (), repair: str = "") -> Call:
        """One call of a share; with ``repair``, the one that follows an answer that could not be parsed."""
        config = share.writer.config
        number = share.first_iteration + iteration
        count = share.counts[iteration]
        listed = [
            text if len(text) <= LISTED_CHARACTERS else text[:LISTED_CHARACTERS] + "…"
            for text in kept[-LISTED_PROMPTS:]
        ]
        prompt = self.template.render(self.concept, count=count, iteration=number, kept=listed)
        return Call(
            writer=share.writer.name,
            sdk=config.sdk,
            model=config.model,
            concept=self.concept.name,
            split=self.split,
            iteration=number,
            round=share.round,
            base_url=config.base_url,
            count=count,
            prompt=f"{prompt}\n{repair}" if repair else prompt,
            template=self.template.name,
            template_hash=self.template.hash,
            structure=config.structure,
            max_output_tokens=config.max_output_tokens,
            repair=bool(repair),
            schema=answer_schema(self.split),
        )

    def _converse(self, share: WriterShare, iterations: Sequence[int]) -> Conversation:
        kept, index = list(share.kept), PromptIndex(share.kept)
        for iteration in iterations:
            answered = yield self.call(share, iteration, kept)
            if answered is not None and (repair := self._repair(answered)):
                answered = yield self.call(share, iteration, kept, repair)
            if answered is not None:
                kept += self._accepted(answered, share.counts[iteration], index)

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
        """The text that a repair call adds; "" unless the answer is complete and nothing in it could be parsed.

        There is no repair if the provider enforces a schema, nor after a refusal, a cut or a repair.
        """
        intent, reply = answered.intent, answered.reply
        if reply.outcome != "complete" or intent["request"]["structure"] == "schema" or intent["repair"]:
            return ""
        drafts = self.reader.drafts(answered)
        if any(draft.parsed for draft in drafts):
            return ""
        fault = drafts[0].fault if drafts else "the list was empty"
        return (
            f"You were asked this before, and your answer could not be used: {fault}. It began:\n\n"
            f"{reply.text[:300]}\n\nAnswer again, with the JSON object alone."
        )


def make_plan(
    concept: Concept, split: Split, shares: Sequence[WriterShare], templates: Path | None = None, batch: bool = False
) -> GenerationPlan:
    """The plan of these shares. Raises ``TemplateError``."""
    template = load(concept.kind, split, templates)
    return GenerationPlan(concept, split, template, tuple(shares), AnswerReader(concept, template.language), batch)


def plan_generation(
    concept: Concept,
    writers: Sequence[LLMWriter],
    *,
    split: Split = "train",
    pairs: int = PROMPTS_PER_CALL,
    iterations: int = ITERATIONS,
    tests: int = 100,
    templates: Path | None = None,
    batch: bool = False,
) -> GenerationPlan:
    """Plan ``pairs`` pairs in each of ``iterations`` calls of each writer, or ``tests`` test prompts shared evenly.

    Raises ``SettingsError``, ``TemplateError``.
    """
    if pairs < 1 or iterations < 1 or tests < 1:
        raise SettingsError(f"--pairs {pairs} --iterations {iterations} --tests {tests}: each must be at least 1")
    without = [writer.name for writer in writers if batch and not writer.config.batch]
    if without:
        raise SettingsError(f"no batch endpoint for {', '.join(without)}: leave --batch out, or the writer")
    if split == "train":
        shares = [WriterShare(writer, (pairs,) * iterations) for writer in writers]
    else:
        counts = split_evenly(tests, len(writers))
        shares = [
            WriterShare(writer, split_into_calls(count)) for writer, count in zip(writers, counts, strict=True) if count
        ]
    return make_plan(concept, split, shares, templates, batch)


def split_evenly(total: int, parts: int) -> list[int]:
    """``total`` in ``parts`` that differ by 1 at most, larger ones first."""
    return [total // parts + (index < total % parts) for index in range(parts)]


def split_into_calls(total: int) -> tuple[int, ...]:
    """How many prompts each call requests, ``total`` in all."""
    return tuple(min(PROMPTS_PER_CALL, total - requested) for requested in range(0, total, PROMPTS_PER_CALL))


def in_rounds(plan: GenerationPlan, ledger: Ledger, fresh: bool = False) -> GenerationPlan:
    """``plan`` with each writer in its round of the ledger, or with ``fresh`` in the next one."""
    shares = [replace(share, round=ledger.round(share.writer.name, plan.split) + fresh) for share in plan.shares]
    return replace(plan, shares=tuple(shares))


def estimate_costs(plan: GenerationPlan, ledger: Ledger, *, fresh: bool = False) -> list[CostEstimate]:
    """The estimate of every call of a plan, repairs aside; nothing is sent."""
    plan = in_rounds(plan, ledger, fresh)
    return [
        estimate
        for share in plan.shares
        for conversation in plan.conversations(share)
        for estimate in _estimate(plan, share, ledger, conversation)
    ]


def _estimate(
    plan: GenerationPlan, share: WriterShare, ledger: Ledger, conversation: Conversation
) -> Iterator[CostEstimate]:
    rates, exact = share.writer.rates, True
    call = next_call(conversation)
    while call is not None:
        answered = ledger.answered(call.hash) if exact else None
        if not call.repair:
            input_tokens, output_tokens = budget.input_tokens(call), budget.likely_output_tokens(call)
            if not exact:  # it will list prompts that are not written yet
                input_tokens += _LISTED_TOKENS * sum(share.counts[: call.iteration - share.first_iteration])
            likely, most = rates.cost(input_tokens, output_tokens), rates.cost(input_tokens, call.max_output_tokens)
            divisor = 2 if plan.batch else 1
            yield CostEstimate(
                call, exact, answered is not None, input_tokens, output_tokens, likely / divisor, most / divisor
            )
        exact = exact and answered is not None
        call = next_call(conversation, answered)
