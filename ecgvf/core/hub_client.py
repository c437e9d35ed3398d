"""The Hub's client, `huggingface_hub`, without its patience where there is no network."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants, get_session
from huggingface_hub.errors import HfHubHTTPError

TIMEOUT = 5.0
"""Seconds that the Hub has to answer the first request."""

# The base of all errors of the HTTP library that the client is built on.
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]

_answered = False


@contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Work from the cache, as with ``HF_HUB_OFFLINE=1``, if the Hub does not answer one request.

    Without it, the client tries every file six times, for half a minute each. Once the Hub has answered in this process
    nothing changes: the client's own retries carry uploads and downloads over a failure that passes.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable() -> bool:
    global _answered
    if not _answered:
        try:
            get_session().head(constants.ENDPOINT, timeout=TIMEOUT)
        except (_HTTP_ERROR, OSError):
            return False
        _answered = True
    return True
