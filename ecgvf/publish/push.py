"""Push a dataset to the Hub: one commit on top of what is there, then a tag on that commit.

``prepare`` writes the files and plans the push, ``upload`` does it. A push that is interrupted leaves the last version
as it was, and the same command resumes it: files that arrived are not sent again, and a commit without its tag gets it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi

from ecgvf.core.errors import HubError, SettingsError
from ecgvf.core.files import require_local
from ecgvf.core.hub import hub_errors
from ecgvf.core.run import ConceptRun
from ecgvf.pairs.splits import counts_text
from ecgvf.publish.card import write_card
from ecgvf.publish.catalogue import FILE, VERSION, Catalogue, rejected_config
from ecgvf.publish.export import assets
from ecgvf.publish.finished_run import open_finished_run
from ecgvf.publish.parquet import DatasetFiles, write_parquet
from ecgvf.publish.repository import (
    TYPE,
    Repository,
    account,
    account_to_write,
    catalogue_at,
    check_name,
    check_visibility,
    commit,
    open_repository,
    published_openings,
    sizes,
    version_numbers,
)
from ecgvf.publish.staging import staging_folder

STAGING = "publish"
"""Folder of a concept in the store with the files to upload."""


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push would do."""

    repo: str
    version: str
    action: Literal["commit", "tag", "none"]
    """Upload and tag; tag the commit of an interrupted push; nothing, as ``version`` has this content already."""
    before: Repository
    """The repository as it is; without a head, it will be created."""
    public: bool
    gated: bool
    files: DatasetFiles
    small_files: dict[str, bytes]
    """Path → content of the files that are not Parquet: card, catalogue, contact sheet."""
    deleted: tuple[str, ...]
    """Files of the concept's last version that this one lacks."""

    @property
    def concept(self) -> str:
        """Name of the concept."""
        return self.files.run.concept.name

    @property
    def dataset(self) -> str:
        """The name under which ``ear`` finds this version."""
        return f"{self.repo}/{self.concept}@v{self.version}"

    @property
    def nothing_to_do(self) -> bool:
        """Whether neither content nor visibility changes."""
        changed = self.before.changes_visibility(public=self.public, gated=self.gated)
        return self.action == "none" and not changed

    @property
    def uploads(self) -> dict[str, Path | bytes]:
        """Path in the repository → file or content, of all files to upload."""
        large = {path: self.files.folder / path for path in self.files.paths}
        return {**large, **dict(sorted(self.small_files.items()))}

    @property
    def sizes(self) -> dict[str, int]:
        """Path in the repository → bytes, of all files to upload."""
        return sizes(self.uploads)


@contextmanager
def prepare(
    run: ConceptRun,
    repo: str | None = None,
    *,
    version: str | None = None,
    public: bool = False,
    unsafe_known: bool = False,
    images: bool = True,
    set_id: str | None = None,
    dry_run: bool = False,
) -> Iterator[PushPlan]:
    """Plan a push of ``run`` to ``repo`` (None: ``<account>/ecgvf``); the files are in the store until the end.

    ``version`` None is the next minor version, first 1.0.0; ``set_id`` is the start of an acceptance set's fingerprint.
    ``dry_run`` is for a plan that is not carried out, for which a read-only token will do. Raises ``SettingsError`` for
    an invalid option and for unsafe content, of the run or of the repository, that would be public without
    ``unsafe_known``, ``StoreError`` for a store on object storage, ``HubError``, ``DatasetError``, ``StageMissing``.
    """
    check_name(repo)
    if version is not None and not re.fullmatch(f"v?{VERSION}", version):
        raise SettingsError(f"--version {version!r}: write three numbers, such as 1.0.0")
    version = version.removeprefix("v") if version is not None else None
    require_local(run.store.root, "the files of a push")
    finished = open_finished_run(run, set_id)
    owner = account() if dry_run else account_to_write()
    repo = repo if repo is not None else f"{owner}/ecgvf"
    before = open_repository(repo)
    unsafe = [run.concept.name] if finished.concept.unsafe else before.unsafe
    check_visibility(repo, before, unsafe, public=public, unsafe_known=unsafe_known)
    with staging_folder(run.store.folder(run.concept.name, STAGING)) as folder:
        yield _plan(repo, write_parquet(finished, folder, images=images), before, version, public)


def upload(plan: PushPlan) -> str:
    """Do what ``plan`` says. Returns the commit of the version. Raises ``HubError``."""
    api = HfApi()
    with hub_errors(plan.repo):
        if plan.before.head is None:
            api.create_repo(plan.repo, repo_type=TYPE, private=not plan.public)
        head = plan.before.head or str(api.dataset_info(plan.repo).sha)
        with plan.before.visibility(api, plan.repo, public=plan.public, gated=plan.gated):
            if plan.action == "commit":
                head = _commit(plan, parent=head)
            if plan.action != "none":
                api.create_tag(plan.repo, tag=f"v{plan.version}", revision=head, repo_type=TYPE)
    return head


def _commit(plan: PushPlan, parent: str) -> str:
    facts = plan.files.facts
    message = f"{plan.concept} v{plan.version}"
    counts = f"{counts_text(facts.counts)}, {facts.counts['rejected']} rejected"
    description = f"{counts}; fingerprint {facts.fingerprint}"
    return commit(plan.repo, plan.uploads, plan.deleted, message, description=description, parent=parent)


def _plan(repo: str, files: DatasetFiles, before: Repository, version: str | None, public: bool) -> PushPlan:
    name, tags = files.run.concept.name, before.tags
    files = files.with_openings(published_openings(repo, before, name))
    known, last = _tagged_catalogue(repo, before)
    action: Literal["commit", "tag", "none"] = "commit"
    if last is not None and known.fingerprints().get(name) == files.facts.fingerprint:
        if last in tags:
            action, version = "none", last
        elif version in (None, last):
            action, version = "tag", last
    if action == "commit":
        _check_unused(repo, version, tags, known, files)
    version = version or _next_version(tags)
    if action != "none" and tags and version_numbers(version) < max(map(version_numbers, tags)):
        newest = max(tags, key=version_numbers)
        raise HubError(f"{repo} is at v{newest} already: --version {version} would go back")
    # An entry that never got its tag is no version.
    tagged = [entry for entry in known.versions if entry.version in tags]
    today = datetime.now(UTC).date().isoformat()
    pushed = known.with_concept(name, files.facts).with_versions(tagged).with_version(version, today)
    card = write_card(pushed, repo=repo, before=before.card, previous=before.catalogue)
    small_files = {**assets(files), FILE: pushed.text().encode(), "README.md": card.encode()}
    ours = re.compile(rf"({name}|{rejected_config(name)})/[^/]+\.parquet|assets/{name}\.png")
    old_files = {path for path in before.files if ours.fullmatch(path)}
    return PushPlan(
        repo=repo,
        version=version,
        action=action,
        before=before,
        public=public,
        gated=bool(pushed.unsafe),
        files=files,
        small_files=small_files,
        deleted=tuple(sorted(old_files - {*files.paths, *small_files})),
    )


def _tagged_catalogue(repo: str, before: Repository) -> tuple[Catalogue, str | None]:
    """The catalogue of ``repo`` with the versions that count, and the version of its content (None: it has none)."""
    known = before.catalogue
    if not known.versions:
        return known, None
    last = known.versions[-1].version
    if before.tags.get(last, before.head) == before.head:
        return known, last
    # The tag may belong to another push, which was quicker: what the version holds is in its own commit.
    tagged = catalogue_at(repo, before.tags[last])
    return known.with_versions(tagged.versions), last if tagged.fingerprints() == known.fingerprints() else None


def _check_unused(repo: str, version: str | None, tags: dict[str, str], known: Catalogue, files: DatasetFiles) -> None:
    """Raise ``HubError`` if ``version`` exists."""
    if version not in tags:
        return
    entry = next((entry for entry in known.versions if entry.version == version), None)
    concept = entry.concepts.get(files.run.concept.name) if entry is not None else None
    equal = concept is not None and concept.fingerprint == files.facts.fingerprint
    content = "this very content, and newer ones after it" if equal else "other content"
    raise HubError(
        f"{repo} has a v{version} with {content}, and a version is never moved: "
        f"leave --version out for {_next_version(tags)}, or choose another"
    )


def _next_version(tags: dict[str, str]) -> str:
    if not tags:
        return "1.0.0"
    major, minor, _ = max(map(version_numbers, tags))
    return f"{major}.{minor + 1}.0"
