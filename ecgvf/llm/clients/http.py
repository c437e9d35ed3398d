"""How failures of HTTP become ``Failed``, for all SDKs: statuses, Retry-After, and broken connections."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ecgvf.core import console
from ecgvf.llm.clients import content_filters
from ecgvf.llm.clients.client import Failed

if TYPE_CHECKING:
    import httpx2

LONGEST_WAIT = 600.0
"""Maximum seconds of Retry-After to wait; a longer one counts as a refusal."""

_RETRIED = {408, 409}

_GATEWAY = {502, 504, 520, 524}
"""Something between us and the provider gave up: the provider may answer all the same, and charge."""

_MAY_HAVE_BEGUN = _GATEWAY | {408, 500}
"""The provider may have created the batch all the same."""


def status_failure(status: int, headers: Mapping[str, str], body: str) -> Failed:
    """The failure for a status other than 200. Nothing was charged, unless a gateway gave up: then it is ``lost``."""
    message = f"status {status}: {' '.join(body.split())}"
    if content_filters.stopped(status, body):
        return Failed(message, "filtered", status=status, raw=body)
    wait, lost = retry_after(headers), status in _GATEWAY
    too_long = wait is not None and wait > LONGEST_WAIT
    # An exhausted quota is a 429 too; waiting does not help.
    if status == 429 and "insufficient_quota" not in body and not too_long:
        return Failed(message, "busy", status=status, raw=body, retry_after=wait)
    if (status in _RETRIED or status >= 500) and not too_long:
        return Failed(message, "faulty", status=status, raw=body, retry_after=wait, lost=lost)
    return Failed(message, "denied", status=status, raw=body, lost=lost)


def connection_failure(error: BaseException) -> Failed:
    """The failure for a broken connection. A request that reached the server may have been charged."""
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
    """Time-outs of a call that may take ``seconds``, half of it for connecting: until then nothing is charged."""
    import httpx2

    return httpx2.Timeout(seconds, connect=seconds / 2)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the provider asks to wait: ``retry-after-ms``, or ``retry-after`` in seconds or as a date."""
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
    """A batch's results by name, from one line each; an unreadable line is left out with a warning."""
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
    """Turn the exceptions of ``openai`` or ``anthropic``, which have the same names, into ``Failed``.

    This includes the ones that they raise for an answer that is not in the provider's format.
    """
    import httpx2

    try:
        yield
    except sdk.APIStatusError as error:
        raise status_failure(error.status_code, error.response.headers, error.response.text) from error
    except (sdk.APIConnectionError, httpx2.HTTPError) as error:
        raise connection_failure(error) from error
    except (sdk.APIError, ValueError, TypeError, AttributeError) as error:
        message = f"not as the provider answers ({type(error).__name__}: {error})"
        raise Failed(message, "faulty", lost=True) from error


@contextmanager
def batch_failures(sdk: ModuleType) -> Iterator[None]:
    """``failures`` of a request that creates a batch, which may be ``lost`` after more statuses."""
    try:
        with failures(sdk):
            yield
    except Failed as failed:
        failed.lost = failed.lost or failed.status in _MAY_HAVE_BEGUN
        raise
