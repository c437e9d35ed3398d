"""``ecgvf.json``: what a published repository holds, concept by concept, and its versions.

Anybody may have changed it in between: it is checked when it is read, and its text is never trusted.
"""

import json
from typing import (
    Annotated,
    Literal,
    NotRequired,  # pydantic reads Python's own from 3.12 on
    Self,
)

from pydantic import BaseModel, ConfigDict, Field, ValidationError, with_config
from typing_extensions import TypedDict

from ecgvf.core.concepts import NAME
from ecgvf.core.errors import DatasetError
from ecgvf.core.validation import first_error

FILE = "ecgvf.json"

KEY = b"ecgvf"
"""Key of the Parquet metadata with what the rows of a file have in common (``rows.metadata``)."""

VERSION = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"


Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]

Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]+$")]

CountedSplit = Literal["train", "validation", "test", "retain", "rejected"]
"""What is counted of a concept."""

Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
"""ISO 8601, UTC."""


def rejected_config(concept: str) -> str:
    """Name of the config with the rejected records of ``concept``."""
    return f"{concept}-rejected"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class SplitFacts(_Model):
    """One split of a config."""

    name: str
    rows: int
    bytes: int
    """In memory, as Arrow."""
    download: int
    """Bytes of the files."""
    files: list[str]


class ConfigFacts(_Model):
    """One config and its splits; a ``rejected`` one holds the rejected records."""

    name: Name
    """Also that of its folder."""
    rejected: bool
    splits: list[SplitFacts]


# What the card shows of a concept and of its run's settings, which have more, and more in newer versions.

_MORE = with_config(ConfigDict(extra="allow"))


@_MORE
class ConceptWords(TypedDict):
    """The concept, as its file states it."""

    name: Name
    kind: str
    description: str
    terms: list[str]
    surrogates: list[str]


@_MORE
class Source(TypedDict):
    """The file that pairs were imported from."""

    name: str
    sha256: str
    licence: str | None


@_MORE
class PairsSettings(TypedDict):
    """The settings of the pairs set."""

    source: NotRequired[Source]


@_MORE
class PicturesSettings(TypedDict):
    """The settings of the image set."""

    sampling: dict[str, int | float]
    seed: int


@_MORE
class RetainedJudge(TypedDict):
    """A judge of retained concepts."""

    judge: str
    judge_hash: str


@_MORE
class VerdictsSettings(TypedDict):
    """The settings of the verdict set."""

    retained: NotRequired[list[RetainedJudge]]


@_MORE
class RunSettings(TypedDict):
    """The settings of the sets of a run."""

    pairs: PairsSettings
    pictures: PicturesSettings
    verdicts: VerdictsSettings


class Dates(TypedDict):
    """The days on which the sets of a run were made."""

    pairs: list[Day]
    pictures: list[Day]
    verdicts: list[Day]


class WriterFacts(_Model):
    """How many records a writer wrote, how many were accepted, why the others were not, and its templates' hashes."""

    writer: str
    model_asked: str
    model_answered: str
    written: int = Field(ge=1)
    accepted: int
    reasons: dict[str, int]
    templates: dict[str, str | list[str]]


class ConceptFacts(_Model):
    """One concept of a repository: how its run was made, and what came of it."""

    fingerprint: Fingerprint
    images: bool
    unsafe: bool
    concept: ConceptWords
    model: str
    renderer: str
    judge: str
    judge_hash: str
    judge_labels: list[str]
    rule: str
    reviewed: bool = False
    """Whether reviewers decided some of its records."""
    sets: dict[str, str]
    settings: RunSettings
    dates: Dates
    packages: dict[str, str]
    counts: dict[CountedSplit, int]
    reasons: dict[str, int]
    writers: list[WriterFacts]
    test_openings: int = 0
    """How often somebody measured on the test split before this was published."""
    configs: list[ConfigFacts]

    @property
    def rows(self) -> int:
        """Records, rejected ones included."""
        return sum(split.rows for config in self.configs for split in config.splits)


class ConceptVersion(_Model):
    """One concept as a version has it."""

    fingerprint: Fingerprint
    counts: dict[CountedSplit, int]


class Version(_Model):
    """A version that was pushed, on that day (ISO 8601, UTC)."""

    version: str = Field(pattern=f"^{VERSION}$")
    date: Day
    concepts: dict[Name, ConceptVersion]


class Catalogue(_Model):
    """A whole repository."""

    format: Literal[1] = 1
    concepts: dict[Name, ConceptFacts] = {}
    versions: list[Version] = []
    unsafe_results: list[Name] = []
    """Suites with an unsafe concept whose results stand beside the dataset."""

    @property
    def unsafe(self) -> list[str]:
        """Names of the unsafe concepts, and of the configs with unsafe results."""
        concepts = [name for name, facts in self.concepts.items() if facts.unsafe]
        return [*concepts, *(f"{suite}-results" for suite in self.unsafe_results)]

    @classmethod
    def parse(cls, text: str | bytes, path: str) -> Self:
        """The catalogue in ``text``; ``path`` names it in messages. Raises ``DatasetError``."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise DatasetError(
                f"{path}: {first_error(error, FILE)}; it was not written by this version of ecgvf"
            ) from error

    def with_concept(self, name: str, facts: ConceptFacts) -> Self:
        """This catalogue with ``name`` added or replaced."""
        return self.model_copy(update={"concepts": dict(sorted({**self.concepts, name: facts}.items()))})

    def with_version(self, version: str, date: str) -> Self:
        """This catalogue with its present content as ``version``, which replaces an entry of the same number."""
        concepts = {
            name: ConceptVersion.model_validate({"fingerprint": facts.fingerprint, "counts": facts.counts})
            for name, facts in self.concepts.items()
        }
        versions = [entry for entry in self.versions if entry.version != version]
        return self.with_versions([*versions, Version(version=version, date=date, concepts=concepts)])

    def with_versions(self, versions: list[Version]) -> Self:
        """This catalogue with another list of versions."""
        return self.model_copy(update={"versions": versions})

    def with_results(self, suite: str, *, unsafe: bool) -> Self:
        """This catalogue with the results of ``suite`` marked as unsafe or not."""
        others = {name for name in self.unsafe_results if name != suite}
        return self.model_copy(update={"unsafe_results": sorted(others | ({suite} if unsafe else set()))})

    def fingerprints(self) -> dict[str, str]:
        """Concept → fingerprint."""
        return {name: facts.fingerprint for name, facts in self.concepts.items()}

    def text(self) -> str:
        """The content of the file."""
        content = self.model_dump(mode="json", exclude=None if self.unsafe_results else {"unsafe_results"})
        return json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
