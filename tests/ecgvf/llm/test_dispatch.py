"""What a writer may be sent in a minute, on a clock that does not wait."""

import asyncio
import selectors
from collections.abc import Coroutine
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ecgvf.core.concepts import find
from ecgvf.llm.budget import likely
from ecgvf.llm.dispatch import _Line, a_minute
from ecgvf.llm.registry import Entry, Named, Rates
from ecgvf.pairs.llm_writers import planned


class _Skipping(selectors.DefaultSelector):
    """Where a loop would wait, its clock goes on instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += (timeout or 0) + 1e-6  # a clock that stood still between two looks would be none
        return super().select(0)


def without_waiting(what: Coroutine[Any, Any, list[float]]) -> list[float]:
    clock = _Skipping()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now  # type: ignore[method-assign]
    try:
        return loop.run_until_complete(what)
    finally:
        loop.close()


def busiest(times: list[float]) -> int:
    """The most of these times in any 60 seconds."""
    return max(sum(start <= time < start + 60 for time in times) for start in times)


@pytest.mark.parametrize("limit", [1, 2, 3, 50, 500])
def test_no_minute_sees_more_than_the_providers_limit_and_half_of_it_need_not_wait(limit: int) -> None:
    async def admitted() -> list[float]:
        loop, limiter = asyncio.get_running_loop(), a_minute(limit)
        times = []
        for _ in range(3 * limit):
            await limiter.acquire()
            times.append(loop.time())
        return times

    times = without_waiting(admitted())
    assert busiest(times) <= limit
    assert sum(time < 0.1 for time in times) == max(1, limit // 2)
    assert times[-1] < 60 * 6


def test_the_tokens_of_the_answers_count_too() -> None:
    entry = Entry(sdk="openai", base_url="http://localhost/v1", model="m", tokens_per_minute=10_000)
    plan = planned(find("church"), [Named("m", entry, Rates(input=Decimal(1), output=Decimal(1)), True)])
    call = replace(plan.call(plan.seats[0], 0), count=10)
    tokens = sum(likely(call, plan.seats[0].writer.rates)[:2])

    async def admitted() -> list[float]:
        loop, line = asyncio.get_running_loop(), _Line(plan.seats[0].writer)
        times = []
        for _ in range(20):
            await line.admitted(call)
            times.append(loop.time())
        return times

    assert busiest(without_waiting(admitted())) * tokens <= 10_000
