"""``ecgvf.json``: what a published repository holds, concept by concept, and the versions it went through.

It travels with the data, so it is outside data when it comes back: it is checked, and text in it is never trusted.
"""

import json
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecgvf.core.concepts import NAME
from ecgvf.core.errors import DatasetError

FILE = "ecgvf.json"

KEY = b"ecgvf"
"""Key of the Parquet metadata that says what a file's rows have in common (``rows.about``)."""

VERSION = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"


class _Published(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class SplitFacts(_Published):
    """One split of one config: how many rows, how many bytes in memory and in files, and which files."""

    name: str
    rows: int
    bytes: int
    download: int
    files: list[str]


class ConfigFacts(_Published):
    """One config and its splits; ``rejected`` ones hold what was not accepted."""

    name: str
    rejected: bool
    splits: list[SplitFacts]


class WriterFacts(_Published):
    """What one writer gave: how much, how much of it holds, why the rest does not, and by which templates."""

    writer: str
    model_asked: str
    model_answered: str
    written: int
    accepted: int
    reasons: dict[str, int]
    templates: dict[str, str]


class Facts(_Published):
    """One concept of a repository: what made it and what came of it."""

    fingerprint: str
    images: bool
    unsafe: bool
    concept: dict[str, Any]
    model: str
    renderer: str
    judge: str
    judge_hash: str
    judge_labels: list[str]
    rule: str
    reviewed: bool = False
    """Whether people decided on some of its records."""
    sets: dict[str, str]
    settings: dict[str, dict[str, Any]]
    dates: dict[str, list[Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]]]
    packages: dict[str, str]
    counts: dict[str, int]
    reasons: dict[str, int]
    writers: list[WriterFacts]
    configs: list[ConfigFacts]

    @property
    def rows(self) -> int:
        """Records, rejected ones included."""
        return sum(split.rows for config in self.configs for split in config.splits)


class ConceptVersion(_Published):
    """What a version held of one concept."""

    fingerprint: str = Field(pattern=r"^[0-9a-f]+$")
    counts: dict[Literal["train", "test", "rejected"], int]


class Version(_Published):
    """A version that was pushed: its day, and the fingerprint and counts of each concept."""

    version: str = Field(pattern=f"^{VERSION}$")
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    concepts: dict[Annotated[str, Field(pattern=f"^{NAME.pattern}$")], ConceptVersion]


class Catalogue(_Published):
    """All of a repository."""

    format: Literal[1] = 1
    concepts: dict[str, Facts] = {}
    versions: list[Version] = []

    def with_concept(self, name: str, facts: Facts) -> "Catalogue":
        """This catalogue with ``name`` put in place; the others stay as they are."""
        return self.model_copy(update={"concepts": dict(sorted({**self.concepts, name: facts}.items()))})

    def with_version(self, version: str, date: str) -> "Catalogue":
        """This catalogue with one more version, of what it holds now; an entry of the same number is replaced."""
        now = {
            name: ConceptVersion.model_validate({"fingerprint": facts.fingerprint, "counts": facts.counts})
            for name, facts in self.concepts.items()
        }
        others = [one for one in self.versions if one.version != version]
        return self.model_copy(update={"versions": [*others, Version(version=version, date=date, concepts=now)]})

    def with_versions_of(self, other: "Catalogue") -> "Catalogue":
        """This catalogue with the versions that ``other`` lists, as it lists them."""
        return self.model_copy(update={"versions": other.versions})

    def only_versions(self, numbers: Collection[str]) -> "Catalogue":
        """This catalogue without the versions that are not among ``numbers``."""
        return self.model_copy(update={"versions": [one for one in self.versions if one.version in numbers]})

    def fingerprints(self) -> dict[str, str]:
        """Concept → fingerprint."""
        return {name: facts.fingerprint for name, facts in self.concepts.items()}

    def text(self) -> str:
        """As the file has it."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def read(text: str | bytes, where: str) -> Catalogue:
    """The catalogue in ``text``; ``where`` names it in messages. Raises ``DatasetError``."""
    try:
        catalogue = Catalogue.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or FILE
        raise DatasetError(f"{where}: {field}: {first['msg']}; it was not written by this version of ecgvf") from error
    for name in catalogue.concepts:
        if not NAME.fullmatch(name):
            raise DatasetError(f"{where}: {name!r} cannot name a concept; it was not written by this version of ecgvf")
    return catalogue
