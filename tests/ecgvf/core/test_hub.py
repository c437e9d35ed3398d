"""What the Hub's client raises becomes one line; everything else passes."""

import errno
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ecgvf.core.errors import AdapterError, DatasetError, EcgvfError, HubError, ModelError
from ecgvf.core.hub import RepoType, hub_errors

REPO = "owner/name"


def http(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    """An error with as much of a response as the client reads, whichever HTTP library it is built on."""
    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    return kind("refused", response=response)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("repo_type", ["dataset", "model", "adapter"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (http(GatedRepoError, 403), f"{REPO} is gated"),
        (http(HfHubHTTPError, 401), "does not know your token"),
        (http(DisabledRepoError, 403), f"{REPO} is disabled"),
        (http(HfHubHTTPError, 403), rf"{REPO} \(refused\): use one that does"),
        (http(HfHubHTTPError, 409), "already has this"),
        (http(HfHubHTTPError, 412), "was changed during the push"),
        (http(HfHubHTTPError, 429), "429"),
        (http(HfHubHTTPError, 503), "503"),
        (http(HfHubHTTPError, 418), rf"{REPO} \(418\)"),
        (OfflineModeIsEnabled("offline"), f"cannot be reached for {REPO}"),
        (caused(LocalEntryNotFoundError("not in the cache"), http(GatedRepoError, 403)), "gated"),
        (caused(RuntimeError("a thread failed"), http(HfHubHTTPError, 503)), "503"),
        (ConnectionError("no dataset"), "cannot be reached"),
        (OSError("connection reset"), f"{REPO}.*connection reset.*run the same command again"),
    ],
)
def test_refusals_and_broken_connections_are_hub_errors(repo_type: RepoType, error: Exception, message: str) -> None:
    with pytest.raises(HubError, match=message), hub_errors(REPO, repo_type=repo_type):
        raise error


@pytest.mark.parametrize(
    ("repo_type", "kind"),
    [("dataset", DatasetError), ("model", ModelError), ("adapter", AdapterError)],
)
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (http(RepositoryNotFoundError, 404), "the Hub has no (dataset|model|adapter) owner/name"),
        (http(RevisionNotFoundError, 404), r"no version v9\.0\.0"),
        (HFValidationError("bad name"), "OWNER/NAME"),
        (caused(RuntimeError("no file"), EntryNotFoundError("no config.json")), f"{REPO} lacks"),
    ],
)
def test_what_does_not_exist_is_an_error_of_its_kind(
    repo_type: RepoType, kind: type[EcgvfError], error: Exception, message: str
) -> None:
    with pytest.raises(kind, match=message), hub_errors(REPO, "v9.0.0", repo_type=repo_type):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("ours"),
        ValueError("ours"),
        KeyError("ours"),
        OSError(errno.ENOSPC, "disk full"),
        OSError(errno.EDQUOT, "quota exceeded"),
        PermissionError(errno.EACCES, "Permission denied", "/a"),
        OSError(errno.EROFS, "Read-only file system", "/a"),
    ],
)
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, hub_errors(REPO):
        raise error
    assert caught.value is error
