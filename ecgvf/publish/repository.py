"""A dataset repository on the Hub: its files, versions and settings."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from ecgvf.core import openings
from ecgvf.core.errors import DatasetError, HubError, SettingsError
from ecgvf.core.hub import LOG_IN, REPO, HubName, hub_errors
from ecgvf.core.openings import Opening
from ecgvf.publish import catalogue
from ecgvf.publish.catalogue import VERSION, Catalogue, rejected_config
from ecgvf.publish.dataset_folder import DatasetFolder

TYPE = "dataset"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as it is at the head of its main branch."""

    head: str | None = None
    """The commit that a push names as its parent; None if the repository does not exist."""
    private: bool = True
    gated: str | bool = False
    files: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    """Version without "v" → commit; tags that are no versions are left out."""
    catalogue: Catalogue = field(default_factory=Catalogue)
    card: str | None = None

    @property
    def unsafe(self) -> list[str]:
        """Names of its unsafe concepts, and of its configs with unsafe results."""
        return self.catalogue.unsafe

    def changes_visibility(self, *, public: bool, gated: bool) -> bool:
        """Whether a push makes it public, as it exists and is private, or gated, as it is not."""
        return self._becomes_public(public) or self._becomes_gated(gated)

    @contextmanager
    def visibility(self, api: HfApi, repo: str, *, public: bool, gated: bool) -> Iterator[None]:
        """Context for the uploads to ``repo``, which exists by now: gate it first, make it public if they succeed."""
        if self._becomes_gated(gated):  # before the first unsafe byte arrives
            api.update_repo_settings(repo, gated="manual", repo_type=TYPE)
        yield
        if self._becomes_public(public):
            api.update_repo_settings(repo, private=False, repo_type=TYPE)

    def _becomes_public(self, public: bool) -> bool:
        return public and self.head is not None and self.private

    def _becomes_gated(self, gated: bool) -> bool:
        return gated and self.gated != "manual"


def version_numbers(version: str) -> tuple[int, ...]:
    """1.10.0 → (1, 10, 0), to compare versions."""
    return tuple(map(int, version.split(".")))


def check_name(repo: str | None) -> None:
    """Raise ``SettingsError`` unless ``repo`` is OWNER/NAME or None."""
    if repo is not None and not re.fullmatch(REPO, repo):
        raise SettingsError(f"--repo {repo}: write OWNER/NAME")


def check_visibility(repo: str, before: Repository, unsafe: Sequence[str], *, public: bool, unsafe_known: bool) -> None:
    """Raise ``SettingsError`` for ``unsafe`` content that would be public without ``unsafe_known``, and for a
    repository that is public already without ``public``."""
    if public and unsafe and not unsafe_known:
        raise SettingsError(
            f"{unsafe[0]!r} is marked unsafe: --public is refused without --i-know-this-is-unsafe "
            f"(without both it goes to the Hub private and gated)"
        )
    if not before.private and not public:
        raise SettingsError(
            f"{repo} is public, and a push is private unless you say otherwise: add --public, or choose another --repo"
        )


def account() -> str:
    """Name of the account of the token in use. Raises ``HubError``."""
    return str(_whoami()["name"])


def account_to_write() -> str:
    """``account``. Raises ``HubError`` for a read-only token, too; of a fine-grained token, only a write shows what it
    permits."""
    owner = _whoami()
    token = (owner.get("auth") or {}).get("accessToken") or {}
    if token.get("role") == "read":
        raise HubError(f"the token of {owner['name']} is read-only: create one with write access, then {LOG_IN}")
    return str(owner["name"])


def _whoami() -> dict[str, Any]:
    with hub_errors("your account"):
        return HfApi().whoami()


def open_repository(repo: str) -> Repository:
    """``repo`` as it is now, without a head if the token in use may not see it. Raises ``HubError``."""
    with hub_errors(repo):
        try:
            info = HfApi().dataset_info(repo)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return Repository()
    head, files = str(info.sha), tuple(file.rfilename for file in info.siblings or ())
    return Repository(
        head=head,
        private=bool(info.private),
        gated=info.gated or False,
        files=files,
        tags=version_tags(repo),
        catalogue=_catalogue(repo, head) if catalogue.FILE in files else Catalogue(),
        card=_read_text(repo, head, "README.md") if "README.md" in files else None,
    )


def version_tags(repo: str) -> dict[str, str]:
    """Version → commit, of the tags vX.Y.Z. Raises ``HubError``, ``DatasetError`` if ``repo`` does not exist."""
    with hub_errors(repo):
        refs = HfApi().list_repo_refs(repo, repo_type=TYPE)
    return {tag.name[1:]: tag.target_commit for tag in refs.tags if re.fullmatch(f"v{VERSION}", tag.name)}


def catalogue_at(repo: str, revision: str) -> Catalogue:
    """The catalogue of ``repo`` at a commit; empty if ``ecgvf`` did not publish that. Raises ``HubError``."""
    try:
        return _catalogue(repo, revision)
    except DatasetError:
        return Catalogue()


def sizes(files: Mapping[str, Path | bytes]) -> dict[str, int]:
    """Path in a repository → bytes, of ``files`` as ``commit`` takes them."""
    return {path: len(file) if isinstance(file, bytes) else file.stat().st_size for path, file in files.items()}


def commit(
    repo: str,
    files: Mapping[str, Path | bytes],
    deleted: Iterable[str],
    message: str,
    *,
    description: str | None = None,
    repo_type: str | None = TYPE,
    parent: str | None = None,
) -> str:
    """Add ``files`` (path in the repository → file or content) and delete others, in one commit; returns its hash.

    ``repo_type`` None is a model. With a ``parent``, nothing happens if the head is another commit by now. Raises the
    Hub's own errors.
    """
    made = HfApi().create_commit(
        repo,
        [
            *(CommitOperationAdd(path_in_repo=path, path_or_fileobj=file) for path, file in files.items()),
            *(CommitOperationDelete(path_in_repo=path) for path in deleted),
        ],
        commit_message=message,
        commit_description=description,
        repo_type=repo_type,
        parent_commit=parent,
    )
    return str(made.oid)


def download(name: HubName) -> DatasetFolder:
    """A repository, or one concept of it, in the Hub's cache. Raises ``HubError``, ``DatasetError``."""
    concept = name.concept or "*"
    parquet = [f"{config}/*.parquet" for config in (concept, rejected_config(concept))]
    patterns = [catalogue.FILE, "README.md", f"{concept}/{openings.FILE}", *parquet]
    with hub_errors(name.repo, name.revision):
        folder = Path(snapshot_download(name.repo, repo_type=TYPE, revision=name.revision, allow_patterns=patterns))
    return DatasetFolder(folder, f"hub:{name} (commit {folder.name[:12]})")


def published_openings(repo: str, repository: Repository, concept: str) -> list[Opening]:
    """Who looked at the test split of ``concept``, as ``repository`` has it now. Raises ``HubError``."""
    path = f"{concept}/{openings.FILE}"
    if repository.head is None or path not in repository.files:
        return []
    return openings.parse(_read_text(repo, repository.head, path).encode())


def _catalogue(repo: str, revision: str) -> Catalogue:
    return Catalogue.parse(_read_text(repo, revision, catalogue.FILE), f"{repo}/{catalogue.FILE}")


def _read_text(repo: str, revision: str, path: str) -> str:
    with hub_errors(repo, revision):
        file = Path(HfApi().hf_hub_download(repo, path, repo_type=TYPE, revision=revision))
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} of {repo} is not UTF-8 text: correct it first") from error
