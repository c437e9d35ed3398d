"""Dispatch: all writers at once, the calls of each in order, every answer paid once.

    job ──▶ next call ──▶ answered before? ──▶ reserve money ──▶ wait for the rate limit ──▶ intent on disk, send
                ▲              │ yes                                                                 │
                └─── answer ◀──┴──────────────────────────── answer on disk ◀────────────────────────┘

The job decides what a call contains and what follows from its answer.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Protocol

from ecgvf.core import console
from ecgvf.llm.attempt import Attempt
from ecgvf.llm.budget import Budget, BudgetReached, most_usd
from ecgvf.llm.calls import Call
from ecgvf.llm.clients.client import Failed, within
from ecgvf.llm.ledger import Ledger
from ecgvf.llm.rate_limit import RateLimitedClient
from ecgvf.llm.registry import LLMWriter
from ecgvf.llm.retry import with_retries

Conversation = Generator[Call, Attempt | None, None]
"""Yields calls, each of which may depend on the answers before it, and receives the answered attempt at each.

It may receive None for a call that is not answered yet, and then yields the next one without it."""


class WriterJob(Protocol):
    """The calls to one writer."""

    @property
    def writer(self) -> LLMWriter: ...

    def conversations(self) -> Sequence[Conversation]:
        """Start the conversations, which are independent of each other, from their beginning."""

    def owns(self, intent: Mapping[str, Any]) -> bool:
        """Whether a ledger's intent belongs to this job."""


@dataclass(slots=True)
class DispatchResult:
    """The answers of all jobs."""

    answered: dict[str, list[Attempt]]
    """Writer → its answered attempts, in order; writers in the order of the jobs."""
    set_aside: dict[str, str] = field(default_factory=dict)
    """Writer → why it did not finish."""


def next_call(conversation: Conversation, answered: Attempt | None = None) -> Call | None:
    """Send ``answered`` to a conversation (None also starts it); the call that it yields, or None at its end."""
    try:
        return conversation.send(answered)
    except StopIteration:
        return None


def why_set_aside(error: Failed | BudgetReached, writer: LLMWriter) -> str:
    """Why a writer is set aside; not yet scrubbed."""
    if isinstance(error, Failed):
        return str(error)
    return f"budget: {error}" + ("" if writer.priced else " (price unknown: worst case)")


async def dispatch(
    jobs: Sequence[WriterJob], ledger: Ledger, budget: Budget, advance: Callable[[], None]
) -> DispatchResult:
    """Send the calls of all jobs, all writers at once; ``advance`` is called after each one, repairs aside.

    A writer that keeps failing, or that the budget stops, is set aside; the others finish. On cancellation (Ctrl-C) and
    any other error, no new call is sent, and those in flight, which are paid, may take until their time-outs to arrive.
    Another cancellation does not wait for them. Raises as ``open_client`` does.
    """
    result = DispatchResult({job.writer.name: [] for job in jobs})
    dispatcher = Dispatcher(ledger, budget, result, advance)
    tasks = [asyncio.create_task(dispatcher.run(job), name=job.writer.name) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    except BaseException as error:
        dispatcher.stopping = True
        for job_task in tasks:
            job_task.cancel()  # not what it has sent
        if dispatcher.in_flight:
            count = len(dispatcher.in_flight)
            calls = f"{count} call{'s' * (count > 1)} in flight, which {'are' if count > 1 else 'is'} paid"
            again = "another " if isinstance(error, asyncio.CancelledError) else ""
            console.note(f"waiting for {calls}; {again}Ctrl-C does not wait")
            await asyncio.wait(dispatcher.in_flight)
        raise
    finally:
        unfinished = [*tasks, *dispatcher.in_flight]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        await dispatcher.close()
    return result


class Dispatcher:
    """Sends the calls of jobs under one budget and one ledger."""

    def __init__(self, ledger: Ledger, budget: Budget, result: DispatchResult, advance: Callable[[], None]) -> None:
        self._ledger, self._budget, self._result, self._advance = ledger, budget, result, advance
        self._clients: list[RateLimitedClient] = []
        self.stopping = False
        self.in_flight: set[asyncio.Task[Attempt]] = set()

    async def run(self, job: WriterJob) -> None:
        """Send the calls of one job, one after the other."""
        client = RateLimitedClient(job.writer)
        self._clients.append(client)
        try:
            for conversation in job.conversations():
                await self._converse(client, conversation)
        except (Failed, BudgetReached) as error:
            self._result.set_aside[job.writer.name] = self._ledger.message(why_set_aside(error, job.writer))

    async def close(self) -> None:
        """Close all clients."""
        for client in self._clients:
            await client.close()

    async def _converse(self, client: RateLimitedClient, conversation: Conversation) -> None:
        call = next_call(conversation)
        while call is not None:
            answered = await self._complete(client, call)
            self._result.answered[client.writer.name].append(answered)
            call = next_call(conversation, answered)
            if call is None or not call.repair:
                self._advance()

    async def _complete(self, client: RateLimitedClient, call: Call) -> Attempt:
        while (answered := self._ledger.answered_attempt(call.hash)) is None:
            try:
                await with_retries(lambda: self._attempt(client, call))
            except Failed as failed:
                if not client.fall_back(failed):
                    raise
        return answered

    async def _attempt(self, client: RateLimitedClient, call: Call) -> None:
        """One attempt: money, rate limit, intent, and then the request, which stopping the run does not cut off."""
        client.open()  # before the intent, since it may raise ``WriterError``
        writer = client.writer
        most = most_usd(call, writer.rates)
        await self._budget.reserve(most)
        cost = Decimal(0)
        try:
            await client.admit(call)
            if self.stopping:
                raise asyncio.CancelledError
            sent = replace(call, structure=writer.structure)
            number = self._ledger.record_intent(
                call, writer.rates, most, timeout_s=writer.config.timeout_s, structure=sent.structure
            )
            cost = most  # until it is known
            task = asyncio.create_task(self._send(client, call.hash, sent, number))
            self.in_flight.add(task)
            task.add_done_callback(self._arrived)
            try:
                attempt = await asyncio.shield(task)
            except Failed as failed:
                cost = most if failed.lost else Decimal(0)
                raise
            cost = most if attempt.charge_unknown else attempt.cost
        finally:
            await self._budget.settle(most, cost)

    def _arrived(self, task: asyncio.Task[Attempt]) -> None:
        self.in_flight.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, because after Ctrl-C nobody awaits the task

    async def _send(self, client: RateLimitedClient, call: str, sent: Call, number: int) -> Attempt:
        began = time.monotonic()
        try:
            raw = await within(client.writer.config.timeout_s, client.open().send(sent))
        except Failed as failed:
            if failed.kind != "filtered":
                self._ledger.record_failure(call, number, failed, time.monotonic() - began)
                raise
            raw = failed.raw
        attempt = self._ledger.record_answer(call, number, raw, time.monotonic() - began)
        if not attempt.answered:
            raise Failed(f"status 200 without an answer: {attempt.reply.why}", "faulty", status=200, lost=True)
        return attempt
