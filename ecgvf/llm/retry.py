"""Retries: rate limits and faults have separate allowances, and a Retry-After is waited for."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from ecgvf.llm.clients.client import Failed

ALLOWED = {"busy": 10, "faulty": 4}
"""Retries of a call after rate limits, and after faults."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds: the scale of the random exponential wait if the provider does not state one."""

T = TypeVar("T")


async def with_retries(attempt: Callable[[], Awaitable[T]], *, retry_lost: bool = True) -> T:
    """The result of ``attempt``, repeated after ``Failed`` as often as ``ALLOWED`` says. Raises the last ``Failed``.

    ``retry_lost`` False: do not repeat a request that may have reached the provider (``Failed.lost``).
    """
    failures: Counter[str] = Counter()
    backoff = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)

    def retried(error: BaseException) -> bool:
        return isinstance(error, Failed) and error.kind in ALLOWED and (retry_lost or not error.lost)

    def stop(state: RetryCallState) -> bool:
        kind = _failed(state).kind
        failures[kind] += 1
        return failures[kind] > ALLOWED[kind]

    def wait(state: RetryCallState) -> float:
        # 0, or a date in the past, would mean at once: back off instead
        return _failed(state).retry_after or backoff(state)

    async def run() -> T:  # tenacity awaits only what is declared as a coroutine function
        return await attempt()

    return await AsyncRetrying(retry=retry_if_exception(retried), stop=stop, wait=wait, reraise=True)(run)


def _failed(state: RetryCallState) -> Failed:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, Failed)  # nothing else is retried
    return error
