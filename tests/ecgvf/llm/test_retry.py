"""Retries, on a clock that does not wait."""

import asyncio

import pytest

from ecgvf.llm.clients.client import Failed
from ecgvf.llm.retry import ALLOWED, with_retries
from tests.ecgvf.llm.skipping_clock import without_waiting


async def seconds_of_retries(retry_after: float | None) -> float:
    """How long a call takes whose every attempt is refused as too early."""

    async def refuse() -> None:
        raise Failed("slow down", "busy", status=429, retry_after=retry_after)

    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(Failed):
        await with_retries(refuse)
    return loop.time() - began


def test_retry_after_is_waited_for() -> None:
    assert without_waiting(seconds_of_retries(30.0)) == pytest.approx(30 * ALLOWED["busy"], abs=0.1)


@pytest.mark.parametrize("retry_after", [None, 0.0], ids=str)
def test_no_time_to_wait_is_no_reason_to_try_again_at_once(retry_after: float | None) -> None:
    """0 is also what a date in the past says: of a provider whose clock is behind."""
    assert without_waiting(seconds_of_retries(retry_after)) > 1
