"""What the three SDKs' failures have in common: HTTP statuses, Retry-After, and connections that break."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ecgvf.core import console
from ecgvf.llm.clients import Failed
from ecgvf.llm.clients import content_filters as filtered

if TYPE_CHECKING:
    import httpx2

LONGEST_WAIT = 600.0
"""Seconds of Retry-After that are honoured; a provider that asks for more has refused."""

_AGAIN = {408, 409}


def refused(status: int, headers: Mapping[str, str], body: str) -> Failed:
    """The failure of an answer whose status is not 200. Nothing was charged."""
    said = f"status {status}: {' '.join(body.split())[:300]}"
    if filtered.stopped(status, body):
        return Failed(said, "filtered", status=status, raw=body)
    wait = retry_after(headers)
    too_long = wait is not None and wait > LONGEST_WAIT
    # An empty purse is a 429 too; waiting does not fill it.
    if status == 429 and "insufficient_quota" not in body and not too_long:
        return Failed(said, "busy", status=status, raw=body, retry_after=wait)
    if (status in _AGAIN or status >= 500) and not too_long:
        return Failed(said, "faulty", status=status, raw=body, retry_after=wait)
    return Failed(said, "denied", status=status, raw=body)


def broken(error: BaseException) -> Failed:
    """The failure of a connection. What never reached the server was not charged; what did may have been."""
    import httpx2

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
            return Failed(f"no connection ({cause or type(cause).__name__})", "faulty")
        if isinstance(cause, httpx2.HTTPError):
            return Failed(f"the connection broke ({cause or type(cause).__name__})", "faulty", lost=True)
        cause = cause.__cause__ or cause.__context__
    return Failed(f"the connection broke ({error or type(error).__name__})", "faulty", lost=True)


def timeouts(seconds: float) -> "httpx2.Timeout":
    """A connection has half of a call's time: one that was never made is then known not to have been charged."""
    import httpx2

    return httpx2.Timeout(seconds, connect=seconds / 2)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a provider asks to wait: ``retry-after-ms``, or ``retry-after`` in seconds or as a date."""
    lower = {name.lower(): value for name, value in headers.items()}
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(lower.get(name, "")) / unit
        except ValueError:
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        return max(0.0, parsedate_to_datetime(lower.get("retry-after", "")).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def results(text: str, read: Callable[[dict[str, Any]], tuple[str, str | Failed]]) -> dict[str, str | Failed]:
    """A batch's results by name, one in each line; what is no result is left out and told."""
    found: dict[str, str | Failed] = {}
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line.strip():
                name, result = read(json.loads(line))
                found[name] = result
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            console.warn(f"line {number} of a batch's results cannot be read, and is left out")
    return found


@contextmanager
def failures(sdk: ModuleType) -> Iterator[None]:
    """The exceptions of `openai` or `anthropic`, which have the same names and shapes, as ours; and what they raise
    where an answer is not in the provider's format.
    """
    import httpx2

    try:
        yield
    except sdk.APIStatusError as error:
        raise refused(error.status_code, error.response.headers, error.response.text) from error
    except (sdk.APIConnectionError, httpx2.HTTPError) as error:
        raise broken(error) from error
    except (sdk.APIError, ValueError, TypeError, AttributeError) as error:
        said = f"not as the provider answers ({type(error).__name__}: {error})"
        raise Failed(said, "faulty", lost=True) from error
