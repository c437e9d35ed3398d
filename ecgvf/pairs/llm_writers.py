"""Pairs by LLMs: what it would cost, the asking, and the set of what came back."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from ecgvf.core import console
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import SettingsError, StageMissing, WriterError
from ecgvf.core.records import PromptPair, Split
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, StageSet
from ecgvf.llm import budget as money
from ecgvf.llm.budget import Budget
from ecgvf.llm.clients import Call
from ecgvf.llm.dispatch import Asked, Exchange, Kept, Plan, Seat, ask, exchange
from ecgvf.llm.ledger import Ledger
from ecgvf.llm.registry import Named, secrets
from ecgvf.pairs import checks
from ecgvf.pairs.generate import CALLED, PER_CALL, Part, Source, kept_part, reading, to_row, write_set
from ecgvf.pairs.parsing import Draft
from ecgvf.pairs.templates import Template, load

ITERATIONS = 3
"""Calls per writer, as in the paper (section 5.1)."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """One call of a plan before it is made."""

    call: Call
    exact: bool
    """Whether the prompt is known word for word; a later one will also list what the writer has given by then."""
    answered: bool
    """Whether its answer is on the disk, so that nothing is sent."""
    tokens: tuple[int, int]
    likely: Decimal
    most: Decimal


def planned(
    concept: Concept,
    writers: Sequence[Named],
    *,
    split: Split = "train",
    pairs: int = PER_CALL,
    iterations: int = ITERATIONS,
    tests: int = 100,
    templates: Path | None = None,
    batch: bool = False,
) -> Plan:
    """Who is asked for what. Pairs: ``pairs`` in each of ``iterations`` calls of each writer. Test prompts: ``tests``
    in all, shared out evenly. Raises ``SettingsError``, ``TemplateError``.
    """
    if pairs < 1 or iterations < 1 or tests < 1:
        raise SettingsError(
            f"--pairs {pairs} --iterations {iterations} --tests {tests}: at least one of each has to be asked for"
        )
    without = [writer.name for writer in writers if batch and not writer.entry.batch]
    if without:
        raise SettingsError(f"no batch endpoint for {', '.join(without)}: leave --batch out, or the writer")
    seats = []
    for place, writer in enumerate(writers):
        if split == "train":
            seats.append(Seat(writer, (pairs,) * iterations))
        elif share := tests // len(writers) + (place < tests % len(writers)):
            seats.append(Seat(writer, in_calls(share)))
    return Plan(concept, split, load(concept.kind, split, templates), tuple(seats), digests=not batch)


def in_calls(wanted: int) -> tuple[int, ...]:
    """How many prompts each call asks for, so that ``wanted`` come together."""
    full, rest = divmod(wanted, PER_CALL)
    return (PER_CALL,) * full + ((rest,) if rest else ())


def in_rounds(plan: Plan, ledger: Ledger, fresh: bool = False) -> Plan:
    """``plan`` with each writer in the round that the ledger says, or with ``fresh`` in the one that is to come."""
    seats = (replace(seat, round=ledger.round(seat.writer.name, plan.split) + fresh) for seat in plan.seats)
    return replace(plan, seats=tuple(seats))


def opened(run: ConceptRun, plan: Plan) -> Ledger:
    """The ledger of a plan's concept, with the plan's keys kept out of it."""
    return Ledger(Ledger.of(run), secrets(seat.writer for seat in plan.seats))


def foreseen(plan: Plan, ledger: Ledger, *, fresh: bool = False, half: bool = False) -> list[Foreseen]:
    """Every call of a plan, with what it will cost; nothing is sent. ``half``: at the price of a batch."""
    plan = in_rounds(plan, ledger, fresh)
    calls = []
    for seat in plan.seats:
        rates, kept, exact = seat.writer.rates, Kept(plan, seat), True
        for iteration in range(len(seat.counts)):
            call = plan.call(seat, iteration, kept.prompts)
            attempt = ledger.answered(call.hash) if exact else None
            if attempt is not None:
                kept.take(exchange(attempt))
            tokens_in, tokens_out, likely = money.likely(call, rates)
            most = money.most(call, rates)
            if not exact:  # the prompts to come will be listed in it
                tokens_in += 25 * sum(seat.counts[:iteration])
                likely, most = rates.cost(tokens_in, tokens_out), rates.cost(tokens_in, call.max_output_tokens)
            share = 2 if half else 1
            calls.append(
                Foreseen(call, exact, attempt is not None, (tokens_in, tokens_out), likely / share, most / share)
            )
            exact = exact and (attempt is not None or not plan.digests)
    return calls


@dataclass(frozen=True, slots=True)
class Collected:
    """What the LLMs of a plan answered."""

    part: Part
    writers: dict[str, dict[str, Any]]
    """Writer → what the ledger knows of it."""
    set_aside: dict[str, str]
    """Writer → why it did not finish."""
    spent: dict[str, str]
    """US dollars: ``dollars``, and ``possibly`` those of calls that were cut off."""
    answered: bool
    """Whether anybody has answered."""

    def told(self) -> dict[str, Any]:
        """What a set's manifest says of it."""
        return {"writers": self.writers, "set_aside": self.set_aside, "spent": self.spent}


def collect(
    run: ConceptRun,
    plan: Plan,
    *,
    budget_usd: Decimal = money.DEFAULT_USD,
    fresh: bool = False,
    batch: bool = False,
    counts: Callable[[Mapping[str, Any]], bool] | None = None,
) -> Collected:
    """Ask the LLMs of ``plan``; ``counts`` are the ledger's intents that the budget is for (default: the plan's).

    An answer that is on the disk is not paid again, unless ``fresh`` opens a new round. A writer that keeps failing, or
    that the budget stops, is set aside and named. Raises ``StoreError`` where another run is asking.
    """
    money.checked(budget_usd)
    run.store.remember(plan.concept)
    with opened(run, plan).writing() as ledger:
        if fresh:
            ledger.fresh([seat.writer.name for seat in plan.seats], plan.split)
        plan = in_rounds(plan, ledger)
        if not batch:
            _not_in_a_batch(plan, ledger)
        calls = sum(len(seat.counts) for seat in plan.seats)
        budget = Budget(budget_usd, ledger.spent(counts or plan.counts).total)
        with console.progress(f"calls for {CALLED[plan.split]}", calls) as bar:
            try:
                asked = asyncio.run(_asked(plan, ledger, budget, bar.advance, batch))
            except KeyboardInterrupt:
                console.note("every answer so far is on the disk and is not paid again")
                if fresh:
                    raise console.Interrupted("Run the command again without --fresh to go on.") from None
                raise
        spent = ledger.spent(plan.counts)
        _tell(asked)
        return Collected(
            part=_part(plan.concept, plan.split, plan.template, asked),
            writers=_told(plan, ledger, asked),
            set_aside=asked.set_aside,
            spent={"dollars": str(spent.cost), "possibly": str(spent.open)},
            answered=any(asked.exchanges.values()),
        )


def generate_paid(
    run: ConceptRun, plan: Plan, *, budget_usd: Decimal = money.DEFAULT_USD, fresh: bool = False, batch: bool = False
) -> StageSet:
    """Ask the LLMs of ``plan`` and write the set of what they answered; the other split stays as it is.

    The set is of the answers that are there. Raises ``WriterError`` where there is none, and what ``collect`` raises.
    """
    got = collect(run, plan, budget_usd=budget_usd, fresh=fresh, batch=batch)
    if not got.answered:
        why = "; ".join(f"{name} {reason}" for name, reason in got.set_aside.items())
        raise WriterError(f"no writer answered: {why}")
    parts = {split: got.part if split == plan.split else kept_part(run, split) for split in CALLED}
    return write_set(run, parts, ", ".join(got.writers), paid={plan.split: got.told()})


def reparse(run: ConceptRun) -> StageSet:
    """Read the answers of the current set by today's parser and checks, without a call: another set, if they changed.

    Raises ``StageMissing`` where no LLM wrote the current set.
    """
    current = run.current(PAIRS)
    ledger = Ledger(Ledger.of(run))
    parts: dict[Split, Part] = {}
    for split in CALLED:
        known = current.settings.get(split) or {}
        if "calls" not in known:
            parts[split] = kept_part(run, split)
            continue
        asked = Asked()
        for name, calls in known["calls"].items():
            attempts = [ledger.answered(call) for call in calls]
            if None in attempts:
                raise StageMissing(
                    f"{ledger.file} lacks answers of the set {current.fingerprint}: restore it, or run the command "
                    "that wrote the set again"
                )
            asked.exchanges[name] = [exchange(attempt) for attempt in attempts if attempt is not None]
        parts[split] = replace(_part(run.concept, split, known, asked), told=current.summary.get("paid", {}).get(split))
    if not any("calls" in (part.settings or {}) for part in parts.values()):
        raise StageMissing(f"the current pairs of {run.concept.name!r} are no LLM's: there is no answer to read again")
    return write_set(run, parts, current.summary["writer"])


async def _asked(plan: Plan, ledger: Ledger, budget: Budget, advance: Any, batch: bool) -> Asked:
    if batch:
        from ecgvf.llm.batch import fill

        return await fill(plan, ledger, budget, advance)
    return await ask(plan, ledger, budget, advance)


def _not_in_a_batch(plan: Plan, ledger: Ledger) -> None:
    """Raise ``SettingsError`` where calls of ``plan`` are under way in a batch: sent now, they would be paid twice."""
    waiting = [one for one in ledger.attempts() if one.answer is None and plan.counts(one.intent)]
    under_way = [one for one in waiting if ledger.in_a_batch(one)]
    if under_way:
        names = ", ".join(sorted({one.intent["writer"] for one in under_way}))
        raise SettingsError(
            f"{len(under_way)} calls of {names} are under way in a batch: add --batch to collect them, or --fresh to "
            "ask anew and pay for both"
        )


def _part(concept: Concept, split: Split, by: Template | dict[str, Any], asked: Asked) -> Part:
    """The rows of what was answered. The settings name the answers, so that equal settings are equal rows."""
    template = by if isinstance(by, dict) else {"template": by.name, "hash": by.hash, "language": by.language}
    settings = {
        "template": template["template"],
        "hash": template["hash"],
        "language": template["language"],
        **reading(concept),
        "calls": {name: [one.call for one in exchanges] for name, exchanges in asked.exchanges.items() if exchanges},
    }

    def rows(taken: checks.Seen) -> list[PromptPair]:
        return [
            row
            for exchanges in asked.exchanges.values()
            for one in exchanges
            for row in _rows(concept, one, taken, template["language"])
        ]

    return Part(settings, rows)


def _rows(concept: Concept, one: Exchange, taken: checks.Seen, language: str | None) -> list[PromptPair]:
    intent = one.attempt.intent
    source = Source(
        writer=intent["writer"],
        split=intent["split"],
        iteration=intent["iteration"],
        call_id=one.call,
        model_asked=intent["model"],
        model_answered=one.reply.model,
        template=intent["request"]["template"],
        template_hash=intent["request"]["template_hash"],
    )
    rows: list[PromptPair] = []
    accepted = 0
    for position, item in enumerate(one.items):
        if accepted >= intent["request"]["count"]:  # thirty where ten were asked for: the first ten that hold
            break
        row = to_row(concept, source, position, item, taken, language)
        if row.reason is None:
            taken.add(row.target)
            accepted += 1
        rows.append(row)
    return rows


def _told(plan: Plan, ledger: Ledger, asked: Asked) -> dict[str, dict[str, Any]]:
    """Writer → what the ledger knows of it."""
    told = {}
    for seat in plan.seats:
        name = seat.writer.name
        exchanges = asked.exchanges[name]
        spent = ledger.spent(lambda intent, name=name: plan.counts(intent) and intent["writer"] == name)  # type: ignore[misc]
        intents = [one.attempt.intent for one in exchanges]
        outcomes = Counter(one.reply.outcome for one in exchanges)
        told[name] = {
            "asked": sum(intent["request"]["count"] for intent in intents if not intent["repair"]),
            "written": sum(isinstance(item, Draft) for one in exchanges for item in one.items),
            "calls": len(exchanges),
            "outcomes": dict(outcomes),
            "model_asked": seat.writer.entry.model,
            "models_answered": sorted({one.reply.model for one in exchanges if one.reply.model}),
            "tokens": {"input": spent.tokens.input_tokens, "output": spent.tokens.output_tokens},
            "dollars": str(spent.cost),
            "possibly": str(spent.open),
            "priced": seat.writer.priced,
        }
    return told


def _tell(asked: Asked) -> None:
    for name, exchanges in asked.exchanges.items():
        substitutes = {
            (one.attempt.intent["model"], one.reply.model)
            for one in exchanges
            if one.reply.model and one.reply.model != one.attempt.intent["model"]
        }
        for wanted, came in sorted(substitutes):
            console.warn(f"{name}: asked for {wanted}, answered by {came}")
    for name, why in asked.set_aside.items():
        console.warn(f"{name} was set aside after {len(asked.exchanges[name])} answers: {why}")
