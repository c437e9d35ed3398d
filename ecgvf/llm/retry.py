"""Trying again: rate limits and faults each have an allowance of their own, and Retry-After is honoured."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from ecgvf.llm.clients import Failed

ALLOWED = {"busy": 10, "faulty": 4}
"""How often a call is sent again after a rate limit, and after a fault."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds: the scale of the random exponential wait where the provider does not say how long."""

T = TypeVar("T")


async def with_retries(attempt: Callable[[], Awaitable[T]], *, lost: bool = True) -> T:
    """What ``attempt`` returns, tried again while its ``Failed`` allows. Raises the last ``Failed``.

    Without ``lost`` an attempt that may have been taken is not made again.
    """
    used: Counter[str] = Counter()
    backoff = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)

    def spent(state: RetryCallState) -> bool:
        kind = _failed(state).kind
        used[kind] += 1
        return used[kind] > ALLOWED[kind]

    def wait(state: RetryCallState) -> float:
        asked = _failed(state).retry_after
        return backoff(state) if asked is None else asked

    async def once() -> T:  # tenacity awaits what is declared to be a coroutine function, and no other callable
        return await attempt()

    def again(error: BaseException) -> bool:
        return isinstance(error, Failed) and error.kind in ALLOWED and (lost or not error.lost)

    tries = AsyncRetrying(retry=retry_if_exception(again), stop=spent, wait=wait, reraise=True)
    return await tries(once)


def _failed(state: RetryCallState) -> Failed:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, Failed)  # nothing else is tried again
    return error
