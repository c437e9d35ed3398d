"""Dispatch through a provider's batch endpoint: the same calls, at a lower price and within a day.

    due ──▶ reserve money ──▶ intents on disk ──▶ submit ──▶ batch's id on disk ──▶ poll ──▶ each answer on disk
     ▲                                                                                          │
     └───────────────────── what failed, expired or exceeded the budget, and nothing else ◀─────┘

A run that is killed anywhere resumes: a batch whose id is on the disk is polled again; a batch that was submitted
before its id was written is looked up at the provider, by the mark in its intents.
"""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import TypeVar

from ecgvf.core import console
from ecgvf.llm.attempt import Attempt
from ecgvf.llm.budget import Budget, BudgetReached, most_usd
from ecgvf.llm.calls import Call
from ecgvf.llm.clients import open_batch_client
from ecgvf.llm.clients.client import BatchClient, Failed, within
from ecgvf.llm.dispatch import DispatchResult, WriterJob, next_call, why_set_aside
from ecgvf.llm.ledger import Ledger
from ecgvf.llm.retry import with_retries

T = TypeVar("T")

RESUBMISSIONS = 2
"""How many times a run submits a call again that failed or expired."""

FIRST_POLL, LONGEST_POLL = 2.0, 60.0
"""Seconds between two polls of a batch; each wait is 1.5 times the one before."""


async def dispatch_batches(
    jobs: Sequence[WriterJob], ledger: Ledger, budget: Budget, advance: Callable[[], None]
) -> DispatchResult:
    """As ``dispatch.dispatch``, but in batches. The conversations of a job run side by side."""
    result = DispatchResult({job.writer.name: [] for job in jobs})
    async with AsyncExitStack() as clients:  # all are opened before anything is sent
        runners = []
        for job in jobs:
            runners.append(BatchRunner(job, ledger, budget, result, advance))
            clients.push_async_callback(runners[-1].client.close)
        for runner in runners:  # before any of them asks for money, or it would not wait for these
            await runner.reserve_earlier()
        await asyncio.gather(*(runner.run() for runner in runners))
    return result


class BatchRunner:
    """Runs one job in batches."""

    def __init__(
        self, job: WriterJob, ledger: Ledger, budget: Budget, result: DispatchResult, advance: Callable[[], None]
    ) -> None:
        self.job, self.writer, self.ledger, self.budget, self.result = job, job.writer, ledger, budget, result
        self.advance, self.finished = advance, 0
        self.earlier = Decimal(0)
        """The most that the calls which an earlier run submitted can cost."""
        self.client: BatchClient = open_batch_client(job.writer)

    async def reserve_earlier(self) -> None:
        """Reserve what the calls that an earlier run submitted can cost: the budget began with it as spent."""
        attempts = [attempt for attempt in self.ledger.attempts() if attempt.intent.get("batch")]
        waiting = [attempt for attempt in attempts if self._waits(attempt) and self.job.owns(attempt.intent)]
        self.earlier = sum((attempt.reserved for attempt in waiting), Decimal(0))
        await self.budget.settle(-self.earlier, -self.earlier)

    async def run(self) -> None:
        """Collect the batches of an earlier run, then submit what is due, until everything is answered."""
        name = self.writer.name
        try:
            counted = self._counted()
            self._advance()
            try:
                await self._resume()
            finally:
                await self.budget.settle(self.earlier, self.earlier + self._counted() - counted)
            submitted = Counter[str]()
            while due := [call for call in self._due() if submitted[call.hash] <= RESUBMISSIONS]:
                submitted.update(await self._submit(due))
            if due := self._due():
                self.result.set_aside[name] = (
                    f"{console.counted(len(due), 'call')} failed or expired in {1 + RESUBMISSIONS} batches"
                )
        except (Failed, BudgetReached) as error:
            self.result.set_aside[name] = self.ledger.message(why_set_aside(error, self.writer))
        finally:
            self.result.answered[name] = [answered for _, answered in self._calls() if answered]

    def _calls(self) -> Iterator[tuple[Call, Attempt | None]]:
        """Each call that can be made now, with its answered attempt, if there is one."""
        for conversation in self.job.conversations():
            call = next_call(conversation)
            while call is not None:
                answered = self.ledger.answered_attempt(call.hash)
                yield call, answered
                call = next_call(conversation, answered) if answered else None

    def _advance(self) -> None:
        """Advance the progress bar to the number of finished calls: answered, as is the repair if one is due."""
        calls = list(self._calls())
        repairs_due = sum(call.repair and answered is None for call, answered in calls)
        finished = sum(not call.repair and answered is not None for call, answered in calls) - repairs_due
        for _ in range(finished - self.finished):
            self.advance()
        self.finished = finished

    def _counted(self) -> Decimal:
        """What this job's attempts count toward the budget, in US dollars."""
        return self.ledger.spent(self.job.owns).total

    def _due(self) -> list[Call]:
        return [call for call, answered in self._calls() if answered is None]

    async def _submit(self, due: Sequence[Call]) -> list[str]:
        """Submit one batch of as many calls as the budget allows, and collect its results; return the calls' hashes.

        For the first call, wait for the other writers' calls to settle. Raises ``BudgetReached``.
        """
        rates = self.writer.batch_rates
        mark, calls, attempts = secrets.token_hex(8), dict[str, Call](), dict[str, int]()
        for call in due:
            most = most_usd(call, rates)
            try:
                await self.budget.reserve(most, wait=not calls)
            except BudgetReached:
                if not calls:
                    raise
                break  # this batch may cost less than was reserved for it
            attempts[call.hash] = self.ledger.record_intent(call, rates, most, batch=mark)
            calls[_name(call.hash, attempts[call.hash])] = call
        try:
            try:
                batch = await with_retries(lambda: self.client.submit(calls, mark), retry_lost=False)
            except Failed as failed:
                if not failed.lost:  # a lost one may have been accepted: the next run looks for it
                    self._fail(attempts, failed)
                raise
            self.ledger.record_batch(batch, self.writer.name, attempts)
            await self._collect(batch, attempts)
        finally:
            for attempt in (self.ledger.of_call(call)[-1] for call in attempts):
                await self.budget.settle(attempt.reserved, attempt.reserved if attempt.charge_unknown else attempt.cost)
        return list(attempts)

    async def _resume(self) -> None:
        """Collect the batches that an earlier run submitted."""
        for batch, line in list(self.ledger.batches.items()):
            attempts = [attempt for call in line["calls"] for attempt in self.ledger.of_call(call)]
            waiting = [
                attempt
                for attempt in attempts
                if attempt.number == line["calls"][attempt.call] and self._waits(attempt)
            ]
            if any(self.job.owns(attempt.intent) for attempt in waiting):
                await self._collect_if_known(batch, {attempt.call: attempt.number for attempt in waiting})
        marked: dict[str, list[Attempt]] = {}
        for attempt in self.ledger.attempts():
            mark = attempt.intent.get("batch")
            if mark and self._waits(attempt) and not self.ledger.in_a_batch(attempt):
                marked.setdefault(mark, []).append(attempt)
        for mark, attempts in marked.items():
            # All of them, also those that only a longer run owns: once its id is known, no mark finds the batch again.
            if any(self.job.owns(attempt.intent) for attempt in attempts):
                await self._collect_marked(mark, attempts)

    async def _collect_marked(self, mark: str, attempts: Sequence[Attempt]) -> None:
        """Find the batch that was submitted with ``mark``, and collect it."""
        numbers = {attempt.call: attempt.number for attempt in attempts}
        names = {_name(call, number) for call, number in numbers.items()}
        since = min(attempt.intent["at"] for attempt in attempts)
        batch = await with_retries(lambda: self.client.find(mark, names, since, set(self.ledger.batches)))
        if batch is None:  # killed before it was submitted, or submitted and not listed
            console.warn(f"{self.writer.name} lists no batch of the earlier run: its calls are sent again")
            self._fail(numbers, Failed("no batch with its mark is listed", "faulty", lost=True))
        else:
            self.ledger.record_batch(batch, self.writer.name, numbers)
            await self._collect(batch, numbers)

    def _within(self, answer: Awaitable[T]) -> Awaitable[T]:
        return within(self.writer.config.timeout_s, answer)

    def _waits(self, attempt: Attempt) -> bool:
        """Whether an attempt was sent to this writer's address, which alone knows its batch, and has no answer yet."""
        return attempt.answer is None and bool(attempt.intent["base_url"] == self.writer.config.base_url)

    def _fail(self, attempts: Mapping[str, int], failed: Failed, seconds: float = 0.0) -> None:
        for call, number in attempts.items():
            self.ledger.record_failure(call, number, failed, seconds)

    async def _collect_if_known(self, batch: str, attempts: Mapping[str, int]) -> None:
        """Collect a batch; if the provider no longer knows it, its calls are sent again and count as possibly paid."""
        try:
            await self._collect(batch, attempts)
        except Failed as failed:
            if failed.status != 404:
                raise
            console.warn(f"{self.writer.name} no longer knows batch {batch}: its calls are sent again")
            self._fail(attempts, Failed(f"batch {batch} is missing", "faulty", status=404, lost=True))

    async def _collect(self, batch: str, attempts: Mapping[str, int]) -> None:
        """Poll a batch until it has ended, and record each of its answers."""
        began, pause, done = time.monotonic(), FIRST_POLL, -1
        while True:
            status = await with_retries(lambda: self._within(self.client.progress(batch)))
            if status.done != done:
                done = status.done
                console.note(f"{self.writer.name}: batch {batch}, {done} of {len(attempts)} done")
            if status.ended:
                break
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL)
        seconds = time.monotonic() - began
        if status.refused:
            refused = Failed(f"batch {batch} was refused: {status.refused}", "denied")
            self._fail(attempts, refused, seconds)
            raise refused
        results = await with_retries(lambda: self._within(self.client.results(batch)))
        for call, number in attempts.items():
            result = results.get(_name(call, number), Failed("not in the batch's results", "faulty", lost=True))
            if isinstance(result, Failed) and result.kind != "filtered":
                self.ledger.record_failure(call, number, result, seconds)
            else:
                raw = result.raw if isinstance(result, Failed) else result
                self.ledger.record_answer(call, number, raw, seconds)
        self._advance()


def _name(call: str, attempt: int) -> str:
    """The ``custom_id`` of an attempt in a batch."""
    return f"{call}-{attempt}"
