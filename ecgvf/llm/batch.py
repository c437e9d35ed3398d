"""The same calls through a provider's batch endpoint, at half the price and within a day.

    due ──▶ reserve money ──▶ intents on disk ──▶ submit ──▶ batch's id on disk ──▶ poll ──▶ answers on disk, one by one
     ▲                                                                                          │
     └───────────────────────────── what failed or expired, and nothing else ◀──────────────────┘

Killed anywhere, the next run goes on: a batch whose id is on the disk is polled; one that was submitted and whose id
was not yet written is found again at the provider, by the mark that its intents carry. A batch is sent at once, so that
a writer is not told what it gave before; near duplicates are left to the checks.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

from ecgvf.core import console
from ecgvf.llm import budget as money
from ecgvf.llm.budget import Budget, BudgetReached
from ecgvf.llm.clients import BatchWriter, Call, Failed, open_batch_writer, within
from ecgvf.llm.dispatch import Asked, Exchange, Plan, Seat, exchange, repair, why_not
from ecgvf.llm.ledger import Attempt, Ledger
from ecgvf.llm.retry import with_retries

T = TypeVar("T")

SHARE = Decimal("0.5")
"""Of the price, as OpenAI and Anthropic charge for batches."""

AGAIN = 2
"""How often what failed or expired is handed in again."""

FIRST_POLL, LONGEST_POLL = 2.0, 60.0
"""Seconds between two looks at a batch; each is half as long again as the one before."""


async def fill(plan: Plan, ledger: Ledger, budget: Budget, advance: Callable[[], None]) -> Asked:
    """Answer a plan by batches, all writers at once."""
    asked = Asked({seat.writer.name: [] for seat in plan.seats})
    await asyncio.gather(*(_Counter(plan, seat, ledger, budget, asked, advance).serve() for seat in plan.seats))
    return asked


class _Counter:
    """One writer's batches."""

    def __init__(
        self, plan: Plan, seat: Seat, ledger: Ledger, budget: Budget, asked: Asked, advance: Callable[[], None]
    ) -> None:
        self.plan, self.seat, self.ledger, self.budget, self.asked = plan, seat, ledger, budget, asked
        self.advance = advance
        self.writer: BatchWriter = open_batch_writer(seat.writer)

    async def serve(self) -> None:
        name = self.seat.writer.name
        try:
            await self._go_on()
            for _ in range(1 + AGAIN):
                due = self._due()
                if not due:
                    break
                await self._hand_in(due)
            if due := self._due():
                self.asked.set_aside[name] = f"{len(due)} calls failed or expired in {1 + AGAIN} batches"
        except (Failed, BudgetReached) as stopped:
            self.asked.set_aside[name] = self.ledger.clean(why_not(stopped, self.seat.writer))
        finally:
            self.asked.exchanges[name] = [one for _, found in self._exchanges() for one in found]
            await self.writer.close()

    def _exchanges(self) -> Iterator[tuple[list[Call], list[Exchange]]]:
        """Iteration by iteration: what is still to be asked, and what was answered."""
        for iteration in range(len(self.seat.counts)):
            call = self.plan.call(self.seat, iteration)
            answered = self.ledger.answered(call.hash)
            if answered is None:
                yield [call], []
                continue
            first = exchange(answered)
            wrong = repair(first)
            if not wrong:
                yield [], [first]
                continue
            second = self.plan.call(self.seat, iteration, wrong=wrong)
            repaired = self.ledger.answered(second.hash)
            yield ([second], [first]) if repaired is None else ([], [first, exchange(repaired)])

    def _due(self) -> list[Call]:
        return [call for due, _ in self._exchanges() for call in due]

    async def _hand_in(self, due: Sequence[Call]) -> None:
        """One batch of as many of the calls as the budget allows, from submission to results."""
        rates = self.seat.writer.rates
        half = (rates.input * SHARE, rates.output * SHARE)
        mark, calls, reached = secrets.token_hex(8), dict[str, Call](), None
        attempts, reserved = dict[str, int](), dict[str, Decimal]()
        for call in due:
            most = money.most(call, rates) * SHARE
            try:
                await self.budget.reserve(most, wait=False)
            except BudgetReached as error:
                reached = error
                break
            number = self.ledger.intend(call, half, most, batch=mark)
            calls[_name(call.hash, number)] = call
            attempts[call.hash], reserved[call.hash] = number, most
        try:
            if calls:
                try:
                    batch = await with_retries(lambda: self._within(self.writer.submit(calls, mark)), lost=False)
                except Failed as failed:
                    if not failed.lost:  # a lost one may have been taken: the next run looks for it
                        for call in calls.values():
                            self.ledger.failure(call.hash, attempts[call.hash], failed, 0.0)
                    raise
                self.ledger.batch(batch, self.seat.writer.name, attempts)
                await self._collect(batch, attempts)
        finally:
            for hash_, most in reserved.items():
                attempt = self.ledger.of_call(hash_)[-1]
                await self.budget.settle(most, most if attempt.open else attempt.cost)
        if reached is not None:
            raise reached

    async def _go_on(self) -> None:
        """Collect what an earlier run submitted."""
        for batch, line in list(self.ledger.batches.items()):
            waiting = {call: number for call, number in line["calls"].items() if self._waits(call, number)}
            if line["writer"] == self.seat.writer.name and waiting:
                await self._collect_if_there(batch, waiting)
        marks: dict[str, list[Attempt]] = {}
        for attempt in self.ledger.attempts():
            mark = attempt.intent.get("batch")
            if mark and attempt.answer is None and self.plan.counts(attempt.intent) and self._mine(attempt):
                marks.setdefault(mark, []).append(attempt)
        for mark, attempts in marks.items():
            numbers = {attempt.intent["call"]: int(attempt.intent["attempt"]) for attempt in attempts}
            names = {_name(call, number) for call, number in numbers.items()}
            since = min(attempt.intent["at"] for attempt in attempts)
            found = await with_retries(lambda: self.writer.find(mark, names, since, set(self.ledger.batches)))  # noqa: B023
            if found is None:  # killed before it was submitted
                for call, number in numbers.items():
                    self.ledger.failure(call, number, Failed("never submitted", "faulty"), 0.0)
            else:
                self.ledger.batch(found, self.seat.writer.name, numbers)
                await self._collect(found, numbers)

    def _within(self, answer: Awaitable[T]) -> Awaitable[T]:
        return within(self.seat.writer.entry.timeout_s, answer)

    def _mine(self, attempt: Attempt) -> bool:
        return attempt.intent["writer"] == self.seat.writer.name and not self.ledger.in_a_batch(attempt)

    def _waits(self, call: str, number: int) -> bool:
        attempts = {int(one.intent["attempt"]): one for one in self.ledger.of_call(call)}
        return number in attempts and attempts[number].answer is None

    async def _collect_if_there(self, batch: str, attempts: Mapping[str, int]) -> None:
        """Collect a batch; one that the provider does not know any more is asked again, and counts as possibly paid."""
        try:
            await self._collect(batch, attempts)
        except Failed as failed:
            if failed.status != 404:
                raise
            console.warn(f"{self.seat.writer.name} does not know batch {batch} any more: its calls are asked again")
            for call, number in attempts.items():
                gone = Failed(f"batch {batch} is gone", "faulty", status=404, lost=True)
                self.ledger.failure(call, number, gone, 0.0)

    async def _collect(self, batch: str, attempts: Mapping[str, int]) -> None:
        """Poll a batch until it has ended, and write down each of its answers."""
        began, pause, told = time.monotonic(), FIRST_POLL, -1
        while True:
            state = await with_retries(lambda: self._within(self.writer.progress(batch)))
            if state.done != told:
                console.note(f"{self.seat.writer.name}: batch {batch}, {state.done} of {len(attempts)} done")
                told = state.done
            if state.ended:
                break
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL)
        seconds = time.monotonic() - began
        if state.refused:
            refused = Failed(f"batch {batch} was refused: {state.refused}", "denied")
            for call, number in attempts.items():
                self.ledger.failure(call, number, refused, seconds)
            raise refused
        results = await with_retries(lambda: self._within(self.writer.results(batch)))
        for call, number in attempts.items():
            result = results.get(_name(call, number), Failed("not in the batch's results", "faulty", lost=True))
            if isinstance(result, Failed) and result.kind != "filtered":
                self.ledger.failure(call, number, result, seconds)
            else:
                raw = result.raw if isinstance(result, Failed) else result
                if self.ledger.answer(call, number, raw, seconds).answered:
                    self.advance()


def _name(call: str, attempt: int) -> str:
    """What an attempt is called in a batch (``custom_id``)."""
    return f"{call}-{attempt}"
