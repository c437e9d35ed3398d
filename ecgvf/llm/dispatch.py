"""Asking the LLMs: all writers at once, each one call after the other, every answer paid once.

    plan ──▶ for each writer:  fill the template ──▶ answered before? ──▶ reserve money ──▶ wait for the rate limit
                  ▲                                       │ yes                                     │
                  │                                       ▼                                         ▼
             what it kept ◀── read, check ◀── answer on disk ◀───────────────────── intent on disk, send

A writer sees what it has itself given before and never what another gave, so that no writer waits for another.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from aiolimiter import AsyncLimiter

from ecgvf.core import console
from ecgvf.core.concepts import Concept
from ecgvf.core.records import Split
from ecgvf.llm import budget as money
from ecgvf.llm.budget import Budget, BudgetReached
from ecgvf.llm.clients import Call, Failed, RemoteWriter, Reply, open_writer, within
from ecgvf.llm.ledger import Attempt, Ledger
from ecgvf.llm.registry import FORMS, Named, Structure
from ecgvf.llm.retry import with_retries
from ecgvf.pairs import checks
from ecgvf.pairs.parsing import Draft, Unreadable, parse
from ecgvf.pairs.templates import Template

DIGEST_PROMPTS, DIGEST_LETTERS = 60, 90
"""How many of its own target prompts a writer is reminded of, the latest, and how much of each."""

GRACE_SECONDS = 20.0
"""After Ctrl-C, calls in flight may still arrive for so long: they are paid."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One writer's part: how many prompts each of its calls asks for."""

    writer: Named
    counts: tuple[int, ...]
    round: int = 0
    """How often ``--fresh`` asked it for this split anew."""
    first: int = 0
    """How many calls it had in the earlier rounds of a build; these are numbered on."""
    kept: tuple[str, ...] = ()
    """What it gave in those."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is asked for what."""

    concept: Concept
    split: Split
    template: Template
    seats: tuple[Seat, ...]
    digests: bool = True
    """Whether a writer is told what it gave before; a batch is sent at once, so that it cannot be."""

    def call(self, seat: Seat, iteration: int, kept: Sequence[str] = (), wrong: str = "") -> Call:
        """The call of a seat; with ``wrong``, the one that asks again after an answer that could not be read."""
        entry = seat.writer.entry
        number = seat.first + iteration
        prompt = self.template.render(self.concept, count=seat.counts[iteration], iteration=number, kept=digest(kept))
        return Call(
            writer=seat.writer.name,
            sdk=entry.sdk,
            model=entry.model,
            concept=self.concept.name,
            split=self.split,
            iteration=number,
            round=seat.round,
            base_url=entry.base_url,
            count=seat.counts[iteration],
            prompt=f"{prompt}\n{wrong}" if wrong else prompt,
            template=self.template.name,
            template_hash=self.template.hash,
            structure=entry.structure,
            max_output_tokens=entry.max_output_tokens,
            repair=bool(wrong),
        )

    def counts(self, intent: Mapping[str, Any]) -> bool:
        """Whether a ledger's intent belongs to this plan, and so to its budget."""
        seats = {(seat.writer.name, seat.writer.entry.model): seat for seat in self.seats}
        seat = seats.get((intent["writer"], intent["model"]))
        if seat is None or (intent["split"], intent["round"]) != (self.split, seat.round):
            return False
        return bool(0 <= intent["iteration"] - seat.first < len(seat.counts))


@dataclass(slots=True)
class Exchange:
    """A call that was answered: where it belongs, and what is in the answer."""

    attempt: Attempt
    reply: Reply
    items: list[Draft | Unreadable]

    @property
    def call(self) -> str:
        """The call's hash."""
        return str(self.attempt.intent["call"])


@dataclass(slots=True)
class Asked:
    """What came of a plan."""

    exchanges: dict[str, list[Exchange]] = field(default_factory=dict)
    """Writer → its exchanges, in their order; writers in the plan's order."""
    set_aside: dict[str, str] = field(default_factory=dict)
    """Writer → why it did not finish."""


def digest(kept: Sequence[str]) -> list[str]:
    """What a writer is told of its own earlier prompts."""
    return [text if len(text) <= DIGEST_LETTERS else text[:DIGEST_LETTERS] + "…" for text in kept[-DIGEST_PROMPTS:]]


def exchange(attempt: Attempt) -> Exchange:
    """An answered attempt, read by today's parser."""
    reply = attempt.reply
    split: Split = attempt.intent["split"]
    match reply.outcome:
        case "complete":
            items = _items(reply.text, attempt, split)
        case "length":  # what stood before the cut is good
            items = [_named(item, "cut off at the token limit") for item in _items(reply.text, attempt, split)]
        case "refusal" | "filter" | "empty" | "unreadable":
            said = {"refusal": "refused", "filter": "stopped by the content filter", "empty": "empty answer"}
            detail = said.get(reply.outcome, "the answer is not in the provider's format")
            items = [Unreadable(f"{detail} ({reply.why})" if reply.why else detail, reply.text or attempt.raw)]
    return Exchange(attempt, reply, items)


def _items(text: str, attempt: Attempt, split: Split) -> list[Draft | Unreadable]:
    """What is in an answer; what it copied from the example in its request is no draft."""
    examples = [item for item in parse(attempt.intent["request"]["prompt"], split) if isinstance(item, Draft)]
    return [
        Unreadable("copied from the example", item.raw)
        if isinstance(item, Draft) and checks.copied(item, examples)
        else item
        for item in parse(text, split)
    ]


def why_not(stopped: Failed | BudgetReached, writer: Named) -> str:
    """Why a writer is set aside; not yet scrubbed."""
    if isinstance(stopped, Failed):
        return f"{stopped.kind}: {stopped}"
    return f"budget: {stopped}" + ("" if writer.priced else " (price unknown: worst case)")


class Kept:
    """The target prompts that one writer has given and that pass the checks, by itself."""

    def __init__(self, plan: Plan, seat: Seat) -> None:
        self._plan, self._seen = plan, checks.Seen()
        self.prompts = list(seat.kept)
        for prompt in seat.kept:
            self._seen.add(prompt)

    def take(self, one: Exchange) -> None:
        """Add what is good in an answer, as much of it as was asked for."""
        full = len(self.prompts) + one.attempt.intent["request"]["count"]
        for item in one.items:
            if len(self.prompts) == full:
                return
            if not isinstance(item, Draft) or checks.fault(self._plan.concept, item, self._plan.template.language):
                continue
            if self._seen.like(item.target) is None:
                self.prompts.append(item.target)
                self._seen.add(item.target)


def repair(one: Exchange) -> str:
    """What to say in a second call, or "" where none is due: the answer was whole, and nothing in it could be read.

    A provider that holds answers to a schema is not asked again, and neither is one that refused or was cut off.
    """
    intent = one.attempt.intent
    if one.reply.outcome != "complete" or intent["request"]["structure"] == "schema" or intent["repair"]:
        return ""
    if any(isinstance(item, Draft) for item in one.items):
        return ""
    wrong = one.items[0].detail if one.items and isinstance(one.items[0], Unreadable) else "the list was empty"
    return (
        f"You were asked this before, and your answer could not be used: {wrong}. It began:\n\n"
        f"{one.reply.text[:300]}\n\nAnswer again, with the JSON object alone."
    )


async def ask(plan: Plan, ledger: Ledger, budget: Budget, advance: Callable[[], None]) -> Asked:
    """Ask all writers of a plan at once. ``advance`` is called for every call that is done.

    A writer that keeps failing is set aside, and so is each one that the budget stops; the others finish. On
    cancellation (Ctrl-C) no new call is sent, and those in flight have ``GRACE_SECONDS`` to arrive.
    """
    asked = Asked({seat.writer.name: [] for seat in plan.seats})
    desk = _Desk(plan, ledger, budget, asked, advance)
    tasks = [asyncio.create_task(desk.seat(seat), name=seat.writer.name) for seat in plan.seats]
    try:
        await asyncio.gather(*tasks)
    except asyncio.CancelledError:
        desk.stopping = True
        if desk.in_flight:
            console.note(
                f"stopping: {desk.in_flight} calls in flight are paid and may arrive; Ctrl-C again stops at once"
            )
            await asyncio.wait(desk.sending, timeout=GRACE_SECONDS)
        raise
    finally:
        for task in [*tasks, *desk.sending]:
            task.cancel()
        await asyncio.gather(*tasks, *desk.sending, return_exceptions=True)
        await desk.close()
    return asked


class _Desk:
    """One run of a plan."""

    def __init__(self, plan: Plan, ledger: Ledger, budget: Budget, asked: Asked, advance: Callable[[], None]) -> None:
        self.plan, self.ledger, self.budget, self.asked, self.advance = plan, ledger, budget, asked, advance
        self.stopping = False
        self.sending: set[asyncio.Task[Attempt]] = set()
        self._lines = {seat.writer.name: _Line(seat.writer) for seat in plan.seats}

    @property
    def in_flight(self) -> int:
        return len(self.sending)

    async def seat(self, seat: Seat) -> None:
        """One writer, call after call."""
        name, line, kept = seat.writer.name, self._lines[seat.writer.name], Kept(self.plan, seat)
        try:
            for iteration in range(len(seat.counts)):
                one = await self._exchange(line, self.plan.call(seat, iteration, kept.prompts))
                self.asked.exchanges[name].append(one)
                if wrong := repair(one):
                    one = await self._exchange(line, self.plan.call(seat, iteration, kept.prompts, wrong))
                    self.asked.exchanges[name].append(one)
                kept.take(one)
                self.advance()
        except (Failed, BudgetReached) as stopped:
            self.asked.set_aside[name] = self.ledger.clean(why_not(stopped, seat.writer))

    async def close(self) -> None:
        """Hang up, after the last answer."""
        for line in self._lines.values():
            await line.close()

    async def _exchange(self, line: "_Line", call: Call) -> Exchange:
        attempt = self.ledger.answered(call.hash)
        while attempt is None:
            try:
                attempt = await with_retries(lambda: self._attempt(line, call))
            except Failed as failed:
                if not line.falls_back(failed):
                    raise
        return exchange(attempt)

    async def _attempt(self, line: "_Line", call: Call) -> Attempt:
        """One attempt: money, rate limit, intent, and then the sending, which a stop of the run does not cut off."""
        most = money.most(call, line.named.rates)
        await self.budget.reserve(most)
        cost = Decimal(0)
        try:
            await line.admitted(call)
            if self.stopping:
                raise asyncio.CancelledError
            rates = (line.named.rates.input, line.named.rates.output)
            form = line.named.structure
            more = {"timeout_s": line.named.entry.timeout_s, "structure": form}
            number = self.ledger.intend(call, rates, most, **more)
            cost = most  # until it is known
            task = asyncio.create_task(self._send(line, call, form, number))
            self.sending.add(task)
            task.add_done_callback(self._landed)
            try:
                attempt = await asyncio.shield(task)
            except Failed as failed:
                cost = most if failed.lost else Decimal(0)
                raise
            cost = most if attempt.open else attempt.cost
            return attempt
        finally:
            await self.budget.settle(most, cost)

    def _landed(self, task: asyncio.Task[Attempt]) -> None:
        self.sending.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, because after Ctrl-C nobody waits for it any more

    async def _send(self, line: "_Line", call: Call, form: Structure, number: int) -> Attempt:
        began = time.monotonic()
        try:
            raw = await within(line.named.entry.timeout_s, line.writer().send(replace(call, structure=form)))
        except Failed as failed:
            if failed.kind != "filtered":
                self.ledger.failure(call.hash, number, failed, time.monotonic() - began)
                raise
            raw = failed.raw
        attempt = self.ledger.answer(call.hash, number, raw, time.monotonic() - began)
        if not attempt.answered:
            raise Failed(f"status 200 without an answer: {attempt.reply.why}", "faulty", status=200, lost=True)
        return attempt


def a_minute(limit: int) -> AsyncLimiter:
    """At most ``limit`` in any 60 seconds: one half at once, and the other over the minute.

    A limiter of ``limit`` would let all of them pass at once, and as many again within the same minute.
    """
    at_once = max(1, limit // 2)
    return AsyncLimiter(at_once, 60 * at_once / max(1, limit - at_once))


_REFUSES_A_FIELD = {400, 422}
"""What servers answer to a request with a field, or a value of it, that they do not know."""

_CALLED: dict[Structure, str] = {"schema": "a JSON schema", "json": "JSON mode", "text": "no response format"}


class _Line:
    """The line to one writer: opened when it is first needed, and kept within the provider's limits."""

    def __init__(self, named: Named) -> None:
        self.named = named
        self._writer: RemoteWriter | None = None
        self._calls = a_minute(named.entry.requests_per_minute)
        self._tokens = a_minute(named.entry.tokens_per_minute)

    async def admitted(self, call: Call) -> None:
        """Wait until the provider's limits allow ``call``."""
        tokens_in, tokens_out, _ = money.likely(call, self.named.rates)
        await self._tokens.acquire(min(tokens_in + tokens_out, self._tokens.max_rate))
        await self._calls.acquire()

    def falls_back(self, failed: Failed) -> bool:
        """Whether the call can be sent again in a looser form, because the server may have refused this one's."""
        named, form = self.named, self.named.structure
        if named.entry.structure != "auto" or form == FORMS[-1] or failed.status not in _REFUSES_A_FIELD:
            return False
        named.refused.add(form)
        looser = _CALLED[named.structure]
        console.note(f"{named.name} refuses {_CALLED[form]} (status {failed.status}): going on with {looser}")
        return True

    def writer(self) -> RemoteWriter:
        if self._writer is None:
            self._writer = open_writer(self.named)
        return self._writer

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer.close()


def _named(item: Draft | Unreadable, why: str) -> Draft | Unreadable:
    return Unreadable(f"{why}: {item.detail}", item.raw) if isinstance(item, Unreadable) else item
