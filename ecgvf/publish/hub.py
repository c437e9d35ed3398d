"""The Hub as this room needs it: what a repository holds, and every refusal as one line that says what to do."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import HfApi, constants, snapshot_download
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

from ecgvf.core.errors import DatasetError, EcgvfError, HubError
from ecgvf.core.hub_client import offline_if_unreachable
from ecgvf.pairs.tables import ALIASES, PromptTable, from_records
from ecgvf.publish import catalogue as catalogues
from ecgvf.publish.catalogue import VERSION, Catalogue
from ecgvf.publish.published import HubName, Published

if TYPE_CHECKING:
    from datasets import DatasetDict, Features

TYPE = "dataset"

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"

# Whatever library the Hub's client speaks HTTP with: its errors are the base of the client's own.
_NETWORK: type[Exception] = HfHubHTTPError.__bases__[0]


@dataclass(frozen=True, slots=True)
class State:
    """What a repository holds at the head of its main branch."""

    repo: str
    head: str
    """The commit, which a push names as its parent."""
    private: bool
    gated: str | bool
    files: tuple[str, ...]
    tags: dict[str, str]
    """Version without "v" → commit; other tags are left out."""
    catalogue: Catalogue
    card: str | None

    @property
    def newest(self) -> str | None:
        """The highest version, if there is one."""
        return max(self.tags, key=numbers, default=None)


def numbers(version: str) -> tuple[int, ...]:
    """1.10.0 → (1, 10, 0), to compare versions by."""
    return tuple(map(int, version.split(".")))


def who() -> str:
    """The account of the token in use. Raises ``HubError``."""
    with told("your account"):
        return str(HfApi().whoami()["name"])


def state(repo: str) -> State | None:
    """What ``repo`` holds now, or None where there is no such repository (or none that this token may see)."""
    api = HfApi()
    with told(repo):
        try:
            info = api.dataset_info(repo)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return None
        head = str(info.sha)
        files = tuple(one.rfilename for one in info.siblings or ())
        tags = versions_of(repo)
    return State(
        repo=repo,
        head=head,
        private=bool(info.private),
        gated=info.gated or False,
        files=files,
        tags=tags,
        catalogue=_catalogue(repo, head) if catalogues.FILE in files else Catalogue(),
        card=_text(repo, head, "README.md") if "README.md" in files else None,
    )


def versions_of(repo: str) -> dict[str, str]:
    """Version → commit, of the tags vX.Y.Z. Raises ``HubError``."""
    with told(repo):
        refs = HfApi().list_repo_refs(repo, repo_type=TYPE)
    return {tag.name[1:]: tag.target_commit for tag in refs.tags if re.fullmatch(f"v{VERSION}", tag.name)}


def download(name: HubName) -> Published:
    """A repository, or one concept of it, in the Hub's cache. Raises ``HubError``, ``DatasetError``."""
    files = [catalogues.FILE, "README.md", f"{name.concept or '*'}/*.parquet"]
    if name.concept is None or not name.concept.endswith("-rejected"):
        files.append(f"{name.concept or '*'}-rejected/*.parquet")
    with told(name.repo, name.revision):
        folder = Path(snapshot_download(name.repo, repo_type=TYPE, revision=name.revision, allow_patterns=files))
    return Published(folder, f"hub:{name} (commit {folder.name[:12]})")


def foreign(name: HubName, chosen: Sequence[str] = ()) -> PromptTable:
    """The prompts of somebody's dataset; ``name.concept`` is its configuration, ``chosen`` as in ``tables.read_table``.

    Raises as ``told`` does.
    """
    import datasets

    with told(name.repo, name.revision):
        try:
            splits = datasets.load_dataset(name.repo, name.concept, revision=name.revision)
            if (zeros := _with_zeros(splits)) is not None:
                splits = datasets.load_dataset(name.repo, name.concept, revision=name.revision, features=zeros)
        # A configuration that is not named, or not there; a repository without data.
        except (datasets.exceptions.DatasetsError, datasets.data_files.EmptyDatasetError, ValueError) as error:
            raise DatasetError(f"cannot read {name} from the Hub: {_line(error)}") from error
    rows = [row for held in splits.values() for row in held.select_columns(_texts(held.features))]
    return from_records(str(name), json.dumps(rows, sort_keys=True, default=str).encode(), rows, chosen)


def _with_zeros(splits: "DatasetDict") -> "Features | None":
    """The features by which zeros in front of a CSV's ids stay; None where there is nothing to keep."""
    from datasets import Features, Value

    first = next(iter(splits.values()))
    ids = [name for name, kind in first.features.items() if name.casefold() in ALIASES["id"] and kind == Value("int64")]
    if first.info.builder_name != "csv" or not ids:
        return None
    return Features({**first.features, **dict.fromkeys(ids, Value("string"))})


def _texts(features: Mapping[str, object]) -> list[str]:
    """The columns that may say something in words or numbers: no pictures."""
    return [name for name, kind in features.items() if not hasattr(kind, "decode_example")]


def catalogue_at(repo: str, revision: str) -> Catalogue:
    """What a repository held at a commit; empty where that was not published by ``ecgvf``."""
    try:
        return _catalogue(repo, revision)
    except DatasetError:
        return Catalogue()


def _catalogue(repo: str, revision: str) -> Catalogue:
    return catalogues.read(_text(repo, revision, catalogues.FILE), f"{repo}/{catalogues.FILE}")


def _text(repo: str, revision: str, path: str) -> str:
    with told(repo, revision):
        return Path(HfApi().hf_hub_download(repo, path, repo_type=TYPE, revision=revision)).read_text(encoding="utf-8")


@contextmanager
def told(repo: str, revision: str | None = None) -> Iterator[None]:
    """The Hub's errors in the words of its user. Raises ``HubError``, and ``DatasetError`` for what is not there."""
    with offline_if_unreachable():
        try:
            yield
        except EcgvfError:
            raise
        except (HfHubHTTPError, _NETWORK, OSError, ValueError, RuntimeError) as error:
            said = _in_words(repo, revision, error)
            if said is None:
                raise
            raise said from error


def _in_words(repo: str, revision: str | None, error: BaseException) -> EcgvfError | None:
    """What a client's error means; None for one that is not the Hub's."""
    match error:
        case GatedRepoError():
            return HubError(f"{repo} is gated: ask for access on its page, then {LOG_IN}")
        case RepositoryNotFoundError():
            return DatasetError(f"the Hub has no dataset {repo}, or it is private: check its name, or {LOG_IN}")
        case RevisionNotFoundError():
            return DatasetError(f"{repo} has no version {revision}: `ecgvf versions {repo}` lists them")
        case LocalTokenNotFoundError():
            return HubError(f"the Hub has to know who you are: {LOG_IN}")
        case HFValidationError():
            return DatasetError(f"{repo!r} is no name on the Hub: write OWNER/NAME")
        case OfflineModeIsEnabled() | LocalEntryNotFoundError():
            # What the client could not reach may have been refused: then that is the reason.
            cause = _in_words(repo, revision, error.__cause__) if error.__cause__ is not None else None
            return cause or _unreachable(repo)
        case ConnectionError() if constants.is_offline_mode():  # of `datasets`, which drops the client's
            return _unreachable(repo)
        case EntryNotFoundError():
            return DatasetError(f"{repo} lacks a file that `ecgvf` writes: it was not published by `ecgvf`")
        case HfHubHTTPError():
            return HubError(_refusal(repo, error))
        case RuntimeError() if error.__cause__ is not None:  # an upload in one of the client's threads
            return _in_words(repo, revision, error.__cause__)
        case ValueError() if "metadata" in str(error):  # the card's YAML, refused by the Hub's rules
            return HubError(f"the Hub does not take the card of {repo}: {_line(error)}")
    if isinstance(error, _NETWORK | ConnectionError | TimeoutError):
        again = "run the same command again, it goes on from there"
        return HubError(f"the connection to the Hub broke ({_line(error)}): {again}")
    return None


def _unreachable(repo: str) -> HubError:
    return HubError(f"the Hub cannot be reached for {repo}: connect, check HF_ENDPOINT, or unset HF_HUB_OFFLINE")


def _refusal(repo: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status == 401:
        return f"the Hub does not know your token: {LOG_IN}"
    if status == 403:
        return f"your token may not do this to {repo}: take one with write access to it, or another --repo"
    if status == 409:
        return f"{repo}: the Hub has that already ({_line(error)}): look at `ecgvf versions {repo}`, then run again"
    if status == 412:
        return (
            f"somebody else changed {repo} meanwhile; nothing of theirs is touched and nothing of yours is in it yet: "
            "run the same command again, it starts from what they did"
        )
    if status == 429:
        return (
            "the Hub asks to slow down (429): wait some minutes and run the same command again; it goes on from there"
        )
    if status >= 500:
        return f"the Hub fails ({status}): run the same command again later; it goes on from there"
    return f"the Hub refuses ({status}): {_line(error)}"


def _line(error: BaseException) -> str:
    """What the server said, or else the last line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return getattr(error, "server_message", None) or (lines[-1] if lines else type(error).__name__)
