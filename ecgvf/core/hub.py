"""Names on the Hub, and the Hub's errors as one line that says what to do, for models and datasets alike."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Self

from httpx2 import HTTPError
from huggingface_hub import constants, get_session
from huggingface_hub import errors as hub

from ecgvf.core.errors import AdapterError, DatasetError, EcgvfError, HubError, ModelError
from ecgvf.core.files import disk_fault, is_folder

RepoType = Literal["dataset", "model", "adapter"]
"""What a repository should hold; to the Hub itself an adapter is a model."""

REPO = r"[\w.-]+/[\w.-]+"
"""Pattern of a repository: OWNER/NAME."""

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
RETRY = "run the same command again to resume"

TIMEOUT = 5.0
"""Seconds that the Hub has to answer the first request."""

ASK_AGAIN = 60.0
"""Seconds for which a Hub that did not answer counts as unreachable."""

_answered = False
"""Whether the Hub has answered a request of this process."""

_ask_again_at = 0.0
"""The time from which it is asked again after it did not answer, on the clock ``time.monotonic``."""

_ABSENT: dict[RepoType, type[EcgvfError]] = {"dataset": DatasetError, "model": ModelError, "adapter": AdapterError}
_LACKS: dict[RepoType, str] = {
    "dataset": "lacks a file that `ecgvf` writes: it was not published by `ecgvf`",
    "model": "lacks config.json: it is not a Janus checkpoint",
    "adapter": "lacks an adapter",
}
_OFFLINE: dict[RepoType, str] = {
    "dataset": "connect to the network, or unset HF_HUB_OFFLINE",
    "model": "connect to the network, unset HF_HUB_OFFLINE, or use --model janus-nano, which needs no network",
    "adapter": "connect to the network, or unset HF_HUB_OFFLINE",
}

_REFUSALS = {
    401: f"the Hub does not know your token: {LOG_IN}",
    403: (
        "your token does not permit this with {repo} ({reason}): use one that does (a push needs write access), or "
        "another repository"
    ),
    409: "{repo}: the Hub already has this ({reason}): check `ecgvf versions {repo}`, then run again",
    412: (
        "{repo} was changed during the push, and nothing was uploaded: run the same command again to start from its "
        "new version"
    ),
    429: f"the Hub limits the rate of requests (429): wait a few minutes, then {RETRY}",
}
_FAILURE = f"the Hub returned an error ({{status}}): wait a few minutes, then {RETRY}"
_REFUSAL = "the Hub refused the request for {repo} ({status}): {reason}"


@dataclass(frozen=True, slots=True)
class HubName:
    """The name of a dataset on the Hub: ``[hub:]OWNER/REPO[/CONCEPT][@vX.Y.Z]``."""

    repo: str
    concept: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ``DatasetError`` if ``text`` is not such a name."""
        match = re.fullmatch(rf"({REPO})(?:/([\w.-]+))?(?:@([\w./-]+))?", text.removeprefix("hub:"))
        if match is None or ".." in text:
            raise DatasetError(f"{text!r} is not a name on the Hub: write OWNER/REPO, OWNER/REPO/CONCEPT or …@v1.0.0")
        return cls(*match.groups())

    def __str__(self) -> str:
        return self.repo + (f"/{self.concept}" if self.concept else "") + (f"@{self.revision}" if self.revision else "")


@contextmanager
def hub_errors(repo: str, revision: str | None = None, *, repo_type: RepoType = "dataset") -> Iterator[None]:
    """Translate what ``huggingface_hub`` raises about ``repo``; other errors pass, those of the disk among them.

    If the Hub does not answer at all, the client works from its cache, as with ``HF_HUB_OFFLINE=1``.

    Raises ``HubError`` if the Hub refuses, fails or cannot be reached, and ``DatasetError``, ``ModelError`` or
    ``AdapterError`` if the repository, the revision or a file of it does not exist.
    """
    with offline_if_unreachable():
        try:
            yield
        except (HTTPError, OSError, RuntimeError, ValueError) as error:
            translated = _translate(error, repo, revision, repo_type)
            if translated is None:
                raise
            raise translated from error


def reason(error: BaseException) -> str:
    """The server's message, or the last line of the client's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return getattr(error, "server_message", None) or (lines[-1] if lines else type(error).__name__)


@contextmanager
def offline_if_unreachable(source: str | None = None) -> Iterator[None]:
    """Switch the client to its cache if the Hub does not answer one request; without asking it if ``source`` is a
    folder.

    The client would try every file six times, for half a minute each. Once the Hub has answered in this process, the
    client's own retries carry uploads and downloads over a temporary failure.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or (source is not None and is_folder(source)) or not _reachable()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable() -> bool:
    global _answered, _ask_again_at
    if not _answered and time.monotonic() >= _ask_again_at:
        try:
            get_session().head(constants.ENDPOINT, timeout=TIMEOUT)
            _answered = True
        except (HTTPError, OSError):
            _ask_again_at = time.monotonic() + ASK_AGAIN
    return _answered


def _translate(error: BaseException, repo: str, revision: str | None, repo_type: RepoType) -> EcgvfError | None:
    """``error`` as one of ours; None if it is not the Hub's."""
    absent = _ABSENT[repo_type]
    unreachable = HubError(f"the Hub cannot be reached for {repo}: {_OFFLINE[repo_type]}")
    match error:
        case hub.GatedRepoError():
            return HubError(f"{repo} is gated: accept its terms or request access on its page, then {LOG_IN}")
        case hub.DisabledRepoError():
            return HubError(f"{repo} is disabled on the Hub: its page says why; use another repository")
        case hub.RepositoryNotFoundError():
            return absent(f"the Hub has no {repo_type} {repo}, or it is private: check its name, or {LOG_IN}")
        case hub.RevisionNotFoundError():
            return absent(f"{repo} has no version {revision}: `ecgvf versions {repo}` lists them")
        case hub.LocalTokenNotFoundError():
            return HubError(f"the Hub needs a token: {LOG_IN}")
        case hub.HFValidationError():
            return absent(f"{repo!r} is not a name on the Hub: write OWNER/NAME")
        case hub.OfflineModeIsEnabled() | hub.LocalEntryNotFoundError():
            # If the client got an answer before it fell back on its cache, that answer is the reason.
            cause = None if error.__cause__ is None else _translate(error.__cause__, repo, revision, repo_type)
            return cause or unreachable
        case ConnectionError() if constants.is_offline_mode():  # `datasets` drops the client's error
            return unreachable
        case hub.EntryNotFoundError():
            return absent(f"{repo} {_LACKS[repo_type]}")
        case hub.HfHubHTTPError():
            status = error.response.status_code
            message = _REFUSALS.get(status, _FAILURE if status >= 500 else _REFUSAL)
            return HubError(message.format(repo=repo, status=status, reason=reason(error)))
        case RuntimeError() if error.__cause__ is not None:  # an upload in one of the client's threads
            return _translate(error.__cause__, repo, revision, repo_type)
        case ValueError() if "metadata" in str(error):  # the Hub checks the YAML of a card
            return HubError(f"the Hub does not accept the card of {repo}: {reason(error)}")
        case OSError() if disk_fault(error) is not None:
            return None
    if isinstance(error, HTTPError | OSError):
        return HubError(f"the transfer of {repo} failed ({reason(error)}): {RETRY}")
    return None
