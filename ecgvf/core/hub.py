"""The Hub's errors as one line that says what to do, for models and datasets alike."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ecgvf.core.errors import DatasetError, EcgvfError, HubError, ModelError
from ecgvf.core.hub_client import offline_if_unreachable

RepoType = Literal["dataset", "model"]

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
RETRY = "run the same command again, it resumes"

_NETWORK: type[Exception] = HfHubHTTPError.__bases__[0]
"""The base of the errors of the HTTP library that the Hub's client uses: httpx, or requests in older versions."""

_ABSENT: dict[RepoType, type[EcgvfError]] = {"dataset": DatasetError, "model": ModelError}
_LACKS: dict[RepoType, str] = {
    "dataset": "lacks a file that `ecgvf` writes: it was not published by `ecgvf`",
    "model": "lacks config.json: it is not a Janus checkpoint",
}
_OFFLINE: dict[RepoType, str] = {
    "dataset": "connect, check HF_ENDPOINT, or unset HF_HUB_OFFLINE",
    "model": "connect, check HF_ENDPOINT, unset HF_HUB_OFFLINE, or use --model janus-nano, which needs no network",
}


@contextmanager
def hub_errors(repo: str, revision: str | None = None, *, repo_type: RepoType = "dataset") -> Iterator[None]:
    """Translate what ``huggingface_hub`` raises about ``repo``; other errors pass, a full disk among them.

    Only the cache is read if the Hub is unreachable (``offline_if_unreachable``). Raises ``HubError`` if the Hub
    refuses, fails or cannot be reached, and ``DatasetError`` or ``ModelError`` if the repository, the revision or a
    file of it does not exist.
    """
    with offline_if_unreachable():
        try:
            yield
        except (_NETWORK, OSError, RuntimeError, ValueError) as error:
            translated = _translate(error, repo, revision, repo_type)
            if translated is None:
                raise
            raise translated from error


def reason(error: BaseException) -> str:
    """The server's message, or the last line of the client's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return getattr(error, "server_message", None) or (lines[-1] if lines else type(error).__name__)


def _translate(error: BaseException, repo: str, revision: str | None, repo_type: RepoType) -> EcgvfError | None:
    """``error`` as one of ours; None if it is not the Hub's."""
    absent = _ABSENT[repo_type]
    unreachable = HubError(f"the Hub cannot be reached for {repo}: {_OFFLINE[repo_type]}")
    match error:
        case GatedRepoError():
            return HubError(f"{repo} is gated: accept its terms or request access on its page, then {LOG_IN}")
        case RepositoryNotFoundError():
            return absent(f"the Hub has no {repo_type} {repo}, or it is private: check its name, or {LOG_IN}")
        case RevisionNotFoundError():
            return absent(f"{repo} has no version {revision}: `ecgvf versions {repo}` lists them")
        case LocalTokenNotFoundError():
            return HubError(f"the Hub needs a token: {LOG_IN}")
        case HFValidationError():
            return absent(f"{repo!r} is not a name on the Hub: write OWNER/NAME")
        case OfflineModeIsEnabled() | LocalEntryNotFoundError():
            # If the client got an answer before it fell back on its cache, that answer is the reason.
            cause = None if error.__cause__ is None else _translate(error.__cause__, repo, revision, repo_type)
            return cause or unreachable
        case ConnectionError() if constants.is_offline_mode():  # `datasets` drops the client's error
            return unreachable
        case EntryNotFoundError():
            return absent(f"{repo} {_LACKS[repo_type]}")
        case HfHubHTTPError():
            return HubError(_refusal(error, repo))
        case RuntimeError() if error.__cause__ is not None:  # an upload in one of the client's threads
            return _translate(error.__cause__, repo, revision, repo_type)
        case ValueError() if "metadata" in str(error):  # the Hub checks the YAML of a card
            return HubError(f"the Hub does not accept the card of {repo}: {reason(error)}")
        case OSError() if error.errno == errno.ENOSPC:
            return None
    if isinstance(error, _NETWORK | OSError):
        return HubError(f"the transfer of {repo} failed ({reason(error)}): {RETRY}")
    return None


def _refusal(error: HfHubHTTPError, repo: str) -> str:
    status = error.response.status_code
    if status == 401:
        return f"the Hub does not know your token: {LOG_IN}"
    if status == 403:
        return f"your token may not do this to {repo}: use one with write access to it, or another --repo"
    if status == 409:
        return f"{repo}: the Hub already has this ({reason(error)}): check `ecgvf versions {repo}`, then run again"
    if status == 412:
        return (
            f"somebody else changed {repo} meanwhile, and nothing of yours is in it yet: "
            "run the same command again to start from their version"
        )
    if status == 429:
        return f"the Hub limits the rate of requests (429): wait some minutes, then {RETRY}"
    if status >= 500:
        return f"the Hub fails ({status}): wait a little, then {RETRY}"
    return f"the Hub refuses ({status}) for {repo}: {reason(error)}"
