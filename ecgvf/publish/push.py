"""A dataset goes to the Hub: one commit on top of what is there, then a tag on that commit.

``prepare`` writes the files and says what would happen; ``upload`` does it. Whatever dies in between leaves the last
version as it was, and the same command goes on: files that arrived are not sent again, and a commit that is there
without its tag gets it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from ecgvf.core.errors import HubError, SettingsError
from ecgvf.core.run import ConceptRun
from ecgvf.publish import card, hub
from ecgvf.publish.catalogue import FILE, VERSION, Catalogue
from ecgvf.publish.export import Content, extras, rejected_config, write_content
from ecgvf.publish.run import Run, open_run
from ecgvf.publish.staging import staged

STAGED = "publish"
"""Folder of a concept in the store where the files wait for their upload."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a push would do."""

    repo: str
    concept: str
    version: str
    before: hub.State | None
    """The repository as it is; None: it will be made."""
    public: bool
    gated: bool
    content: Content
    small: dict[str, bytes]
    """Path → content of what is not Parquet: card, facts, contact sheet."""
    stale: tuple[str, ...]
    """Files of this concept's last version that go."""
    only_tag: bool
    """The commit is there and its tag is missing: a push that died between the two."""
    nothing: str | None
    """The version that holds this content already: nothing is to be uploaded."""

    @property
    def opens(self) -> bool:
        """Whether the repository is private, and is to be public."""
        return self.public and self.before is not None and self.before.private

    @property
    def closes(self) -> bool:
        """Whether a gate has to be put up that is not there."""
        return self.gated and (self.before is None or self.before.gated != "manual")

    @property
    def files(self) -> list[tuple[str, int]]:
        """(path in the repository, bytes), of what would be uploaded."""
        large = [(name, (self.content.folder / name).stat().st_size) for name in self.content.files]
        return [*large, *((name, len(data)) for name, data in sorted(self.small.items()))]


@contextmanager
def prepare(
    concept_run: ConceptRun,
    repo: str | None = None,
    *,
    version: str | None = None,
    public: bool = False,
    unsafe_known: bool = False,
    images: bool = True,
    chosen: str | None = None,
) -> Iterator[Plan]:
    """What pushing ``concept`` (None: the last one) to ``repo`` (None: ``<whoami>/ecgvf``) would do.

    ``version`` None is the next minor one, first 1.0.0. The files wait in the store while the plan is in use. Raises
    ``HubError``, ``DatasetError``, ``SettingsError`` for an unsafe concept that is to be public, ``StageMissing``.
    """
    if repo is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise SettingsError(f"--repo {repo}: write OWNER/NAME")
    run = open_run(concept_run, chosen)
    version = _checked(version)
    repo = repo if repo is not None else f"{hub.who()}/ecgvf"
    before = hub.state(repo)
    _check_visibility(repo, run, before, public=public, unsafe_known=unsafe_known)
    with staged(concept_run.store.folder(run.concept.name, STAGED)) as folder:
        content = write_content(run, folder, images=images)
        yield _plan(repo, content, before, version, public)


def upload(plan: Plan) -> str:
    """Do what ``plan`` says; the commit that now has the tag. Raises ``HubError``."""
    api = HfApi()
    with hub.told(plan.repo):
        if plan.before is None:
            api.create_repo(plan.repo, repo_type=hub.TYPE, private=not plan.public)
            head = str(api.dataset_info(plan.repo).sha)
        else:
            head = plan.before.head
        # The gate stands before the first unsafe byte arrives.
        if plan.closes:
            api.update_repo_settings(plan.repo, gated="manual", repo_type=hub.TYPE)
        commit = head
        if plan.nothing is None:
            commit = head if plan.only_tag else _commit(api, plan, head)
            api.create_tag(plan.repo, tag=f"v{plan.version}", revision=commit, repo_type=hub.TYPE)
        if plan.opens:
            api.update_repo_settings(plan.repo, private=False, repo_type=hub.TYPE)
    return commit


def _commit(api: HfApi, plan: Plan, head: str) -> str:
    large = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=plan.content.folder / name) for name in plan.content.files
    ]
    small = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in sorted(plan.small.items())]
    counts = plan.content.facts.counts
    made = api.create_commit(
        plan.repo,
        [*large, *small, *(CommitOperationDelete(path_in_repo=name) for name in plan.stale)],
        commit_message=f"{plan.concept} v{plan.version}",
        commit_description=(
            f"{counts['train']} pairs, {counts['test']} test prompts, {counts['rejected']} rejected; "
            f"fingerprint {plan.content.facts.fingerprint}"
        ),
        repo_type=hub.TYPE,
        parent_commit=head,
    )
    return str(made.oid)


def _plan(repo: str, content: Content, before: hub.State | None, version: str | None, public: bool) -> Plan:
    name, facts = content.run.concept.name, content.facts
    known = before.catalogue if before is not None else Catalogue()
    last = known.versions[-1] if known.versions else None
    tags = before.tags if before is not None else {}
    previous = known
    if last is not None and before is not None and tags.get(last.version, before.head) != before.head:
        # The tag may be another's, who was quicker: what it holds is what its own commit says.
        at_tag = hub.catalogue_at(repo, tags[last.version])
        known = known.with_versions_of(at_tag)
        if at_tag.fingerprints() != previous.fingerprints():
            last = None
    same = name in known.concepts and known.concepts[name].fingerprint == facts.fingerprint
    tagged = last is not None and last.version in tags
    nothing = last.version if same and tagged and last is not None else None
    untagged = last.version if same and not tagged and last is not None and version in (None, last.version) else None
    if nothing is None and version in tags:
        held = {one.version: one.concepts for one in known.versions}.get(version, {})
        equal = name in held and held[name].fingerprint == facts.fingerprint
        content_of = "this very content, and newer ones after it" if equal else "other content"
        raise HubError(
            f"{repo} has a v{version} with {content_of}, and a version is never moved: "
            f"leave --version out for {_next(tags)}, or choose another"
        )
    told = known.with_concept(name, facts)
    number = nothing or untagged or version or _next(tags)
    if nothing is None and tags and hub.numbers(number) < max(map(hub.numbers, tags)):
        raise HubError(f"{repo} is at v{max(tags, key=hub.numbers)} already: --version {number} would go back")
    # A version whose tag never came is none.
    told = told.only_versions([*tags, number]).with_version(number, datetime.now(UTC).date().isoformat())
    small = extras(content)
    small[FILE] = told.text().encode()
    old = before.card if before is not None else None
    small["README.md"] = card.card(told, repo=repo, before=old, previous=previous).encode()
    ours = re.compile(rf"({name}|{rejected_config(name)})/[^/]+\.parquet|assets/{name}\.png")
    stale = [file for file in (before.files if before is not None else ()) if ours.fullmatch(file)]
    return Plan(
        repo=repo,
        concept=name,
        version=number,
        before=before,
        public=public,
        gated=any(one.unsafe for one in told.concepts.values()),
        content=content,
        small=small,
        stale=tuple(sorted(set(stale) - {*content.files, *small})),
        only_tag=untagged is not None,
        nothing=nothing,
    )


def _next(tags: dict[str, str]) -> str:
    if not tags:
        return "1.0.0"
    major, minor, _ = max(map(hub.numbers, tags))
    return f"{major}.{minor + 1}.0"


def _checked(version: str | None) -> str | None:
    if version is None:
        return None
    number = version.removeprefix("v")
    if not re.fullmatch(VERSION, number):
        raise SettingsError(f"--version {version!r}: write three numbers, such as 1.0.0")
    return number


def _check_visibility(repo: str, run: Run, before: hub.State | None, *, public: bool, unsafe_known: bool) -> None:
    held = before.catalogue.concepts if before is not None else {}
    unsafe = [run.concept.name] if run.concept.unsafe else [name for name, one in held.items() if one.unsafe]
    if public and unsafe and not unsafe_known:
        raise SettingsError(
            f"{unsafe[0]!r} is marked unsafe: --public is refused without --i-know-this-is-unsafe "
            f"(without both it goes to the Hub private and gated)"
        )
    if before is not None and not before.private and not public:
        raise SettingsError(
            f"{repo} is public, and a push is private unless you say otherwise: add --public, or choose another --repo"
        )
