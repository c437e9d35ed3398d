"""Rate limits: what a writer may be sent in a minute, on a clock that does not wait."""

import asyncio
from decimal import Decimal

import pytest

from ecgvf.llm.budget import input_tokens, likely_output_tokens
from ecgvf.llm.rate_limit import RateLimitedClient, per_minute
from ecgvf.llm.registry import LLMWriter, Rates, WriterConfig
from tests.ecgvf.llm.skipping_clock import without_waiting
from tests.ecgvf.llm.small_call import call


def busiest(times: list[float]) -> int:
    """The most of these times in any 60 seconds."""
    return max(sum(start <= time < start + 60 for time in times) for start in times)


@pytest.mark.parametrize("limit", [1, 2, 3, 50, 500])
def test_no_minute_exceeds_the_limit_and_half_of_it_need_not_wait(limit: int) -> None:
    async def admitted() -> list[float]:
        loop, limiter = asyncio.get_running_loop(), per_minute(limit)
        times = []
        for _ in range(3 * limit):
            await limiter.acquire()
            times.append(loop.time())
        return times

    times = without_waiting(admitted())
    assert busiest(times) <= limit
    assert sum(time < 0.1 for time in times) == max(1, limit // 2)
    assert times[-1] < 60 * 6


def test_the_tokens_of_answers_count_too() -> None:
    config = WriterConfig(sdk="openai", base_url="http://localhost/v1", model="m", tokens_per_minute=10_000)
    writer = LLMWriter("m", config, Rates(input=Decimal(1), output=Decimal(1)), True)
    request = call(prompt="Write 10 prompt pairs. " * 100, max_output_tokens=16_000)
    tokens = input_tokens(request) + likely_output_tokens(request)

    async def admitted() -> list[float]:
        loop, client = asyncio.get_running_loop(), RateLimitedClient(writer)
        times = []
        for _ in range(20):
            await client.admit(request)
            times.append(loop.time())
        return times

    assert busiest(without_waiting(admitted())) * tokens <= 10_000
