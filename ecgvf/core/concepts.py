"""A concept: what is erased, and which labels mean that it is in an image.

Concepts are YAML files: shipped ones in ``data/concepts/``, or a user's own, named by its path.
``ecgvf concepts new lighthouse --kind object`` writes a commented file to start from.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import Annotated, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecgvf.core import strict_yaml
from ecgvf.core.errors import ConceptError, SettingsError
from ecgvf.core.paths import data_dir
from ecgvf.core.validation import did_you_mean, first_error

Kind = Literal["object", "style", "nudity"]

SurrogateChoice = Literal["single", "per-term", "free"]
"""What replaces the concept in surrogate prompts: always its first surrogate, one surrogate for each term, or whatever
the writer chooses."""

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Word = Annotated[str, Field(min_length=1, max_length=100)]


def _check_name(name: str) -> str:
    if not NAME.fullmatch(name) or len(name) > 64:
        raise ValueError("use lower-case letters, digits and single hyphens, at most 64")
    return name


class Concept(BaseModel):
    """A concept, as its YAML file states it. Names become folders, so they are checked; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    name: Annotated[str, AfterValidator(_check_name)]
    kind: Kind
    description: str = ""
    terms: tuple[Word, ...] = Field(min_length=1)
    """Words that name the concept: one of them is in every target prompt, none in a surrogate prompt. The first is its
    name."""
    surrogates: tuple[Word, ...] = Field(min_length=1)
    """What a surrogate prompt names in place of the term."""
    unseen_terms: tuple[Word, ...] = ()
    """Words for the concept (some of ``terms``, descriptions, misspellings) that no training pair contains. Evaluation
    prompts use them to measure whether the concept is gone, or only its words. The offline writer uses the first half
    of each kind for validation, and all for test."""
    neighbours: tuple[Word, ...] = ()
    """Similar concepts: never rehearsed in training, always measured."""
    judge_labels: dict[str, tuple[Word, ...]] = {}
    """Label set ("nano", "imagenet", "wikiart", "nudenet") → the labels that mean the concept is in the image."""
    near_labels: dict[str, tuple[Word, ...]] = {}
    """Label set → labels to report as near misses if a judge sees them instead of the concept; never accepted."""
    window: int = Field(default=48, ge=1)
    """Image tokens per optimizer step, for the paper's model (T = 576)."""
    unsafe: bool = False

    @model_validator(mode="after")
    def _words_do_not_contradict(self) -> Self:
        if not self.training_terms:
            raise ValueError("every term is unseen: leave one for training, out of unseen_terms")
        for surrogate in self.surrogates:
            if named := self.term_in(surrogate) or self.unseen_in(surrogate):
                raise ValueError(f"surrogate {surrogate!r} names the concept ({named!r})")
            if named := _longest(self.neighbours, surrogate):
                raise ValueError(
                    f"surrogate {surrogate!r} names a neighbour ({named!r}); neighbours are never rehearsed"
                )
        for neighbour in self.neighbours:
            if named := self.term_in(neighbour) or self.unseen_in(neighbour):
                raise ValueError(f"neighbour {neighbour!r} names the concept ({named!r})")
        return self

    @property
    def training_terms(self) -> tuple[str, ...]:
        """The terms that a training pair may contain."""
        return tuple(term for term in self.terms if self.unseen_in(term) is None)

    def term_in(self, text: str) -> str | None:
        """The longest term that ``text`` contains as whole words (plurals included, case ignored), or None."""
        return _longest(self.terms, text)

    def unseen_in(self, text: str) -> str | None:
        """The longest unseen term that ``text`` contains, in the same way, or None."""
        return _longest(self.unseen_terms, text)

    def surrogate_of(self, target: str, choice: SurrogateChoice) -> str | None:
        """What the surrogate prompt of ``target`` names in place of the concept; None if the writer chooses.

        "per-term" pairs term i with surrogate i, starting over when the surrogates run out. A target without a term
        counts as naming the first.
        """
        if choice == "free":
            return None
        term = self.term_in(target) if choice == "per-term" else None
        return self.surrogates[(self.terms.index(term) if term else 0) % len(self.surrogates)]

    def labels(self, label_set: str) -> tuple[str, ...]:
        """The labels of ``label_set`` that mean this concept; empty if it has none."""
        return self.judge_labels.get(label_set, ())


def check_surrogate_choice(choice: str) -> None:
    """Raise ``SettingsError`` unless ``choice`` is a ``SurrogateChoice``."""
    if choice not in (known := get_args(SurrogateChoice)):
        raise SettingsError(f"surrogates {choice!r} are unknown: use one of {', '.join(known)}")


def _longest(words: tuple[str, ...], text: str) -> str | None:
    text = folded(text)
    for word in sorted(words, key=len, reverse=True):
        if re.search(inflected(folded(word)), text):
            return word
    return None


def name_key(name: str) -> str:
    """A key that is equal for spellings of one name: case, hyphens and repeated spaces do not matter."""
    return " ".join(folded(name).replace("-", " ").split())


def names_any(words: Sequence[str], text: str) -> bool:
    """Whether ``text`` contains one of ``words`` as ``Concept.term_in`` finds terms."""
    return _longest(tuple(words), text) is not None


def folded(text: str) -> str:
    """``text`` for comparison: case-folded, with compatibility characters (full-width, ligatures) normalised."""
    return unicodedata.normalize("NFKC", text).casefold()


@lru_cache(4096)
def inflected(words: str) -> str:
    """A regular expression for ``words`` as whole words or their plurals ("churches", "kitties", "wolves").

    A hyphen matches a space. In scripts without spaces, the words match anywhere.
    """
    parts = [re.escape(part) for part in re.split(r"[\s_-]+", words.strip()) if part] or [r"(?!)"]
    if re.search(r"[^aeiou\W]y$", parts[-1], re.IGNORECASE):
        parts[-1] = f"{parts[-1][:-1]}(?:y|ies)"
    elif re.search(r"(?:ife|[lr]f|[eo]af|hief|oof)$", parts[-1], re.IGNORECASE):  # "hooves", and "roofs"
        parts[-1] = f"{re.sub('fe?$', '', parts[-1], flags=re.IGNORECASE)}(?:fe?s?|ves)"
    else:
        parts[-1] += "(?:e?s)?"
    before, after = (r"(?<!\w)", r"(?!\w)")
    if _UNSPACED.search(words):
        before = after = ""
    return before + r"[\s_-]+".join(parts) + after


_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Scripts without spaces: Thai, Japanese, Chinese."""


def find(name_or_path: str) -> Concept:
    """The shipped concept of that name, or the concept in a user's file. Raises ``ConceptError``."""
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        return read(Path(name_or_path))
    file = data_dir() / "concepts" / f"{name_or_path}.yaml"
    if not NAME.fullmatch(name_or_path) or not file.is_file():
        raise ConceptError(
            f"unknown concept {name_or_path!r}{did_you_mean(name_or_path, names())}: `ecgvf concepts list` shows the "
            "shipped ones; for your own run `ecgvf concepts new NAME --kind object` and pass the file's path"
        )
    return read(file)


def read(file: Path) -> Concept:
    """The concept in a YAML ``file``. Raises ``ConceptError`` naming the file, the field and what is wrong."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConceptError(f"cannot read the concept file {file}: {reason}") from error
    try:
        content = strict_yaml.load(text)
    except yaml.YAMLError as error:
        line = strict_yaml.line_of(error)
        where = f", line {line}" if line else ""
        raise ConceptError(f"{file}{where}: not valid YAML ({getattr(error, 'problem', error)}); correct it") from error
    return parse(content, str(file))


def parse(content: object, where: str) -> Concept:
    """A concept from the content of a YAML or JSON file, which ``where`` names in messages. Raises ``ConceptError``."""
    if not isinstance(content, dict):
        raise ConceptError(f"{where}: a concept is a mapping with name, kind, terms and surrogates")
    try:
        return Concept.model_validate(content)
    except ValidationError as error:
        raise ConceptError(f"{where}: {first_error(error, model=Concept)}") from error


def names() -> list[str]:
    """Names of the shipped concepts, sorted."""
    return sorted(file.stem for file in (data_dir() / "concepts").glob("*.yaml"))


def unsafe_mark(name: str) -> bool | None:
    """Whether the shipped concept called ``name``, however spelt, is marked unsafe; None if there is none."""
    return next((find(each).unsafe for each in names() if name_key(each) == name_key(name)), None)


def may_be_unsafe(name: str, *marks: bool | None) -> bool:
    """Whether to blur images of the concept called ``name``: if it was marked unsafe, as ``marks`` say (None: they do
    not), if it is now, in the package, and if nothing is known of it."""
    known = {*marks, unsafe_mark(name)} - {None}
    return True in known or not known


def template(name: str, kind: Kind) -> str:
    """A commented YAML file for a new concept, to be edited. Raises ``ConceptError`` for an invalid name."""
    try:
        _check_name(name)
    except ValueError as error:
        raise ConceptError(f"{name!r} cannot name a concept: {error}") from error
    word = name.replace("-", " ")
    surrogate, window, label_set, label = {
        "object": ("something else", 48, "imagenet", word),
        "style": ("something plain", 24, "wikiart", name),
        "nudity": ("fully clothed", 100, "nudenet", "FEMALE_BREAST_EXPOSED, BUTTOCKS_EXPOSED"),
    }[kind]
    quoted = {"quoted": json.dumps(name), "term": json.dumps(word)}  # "no" and "123" are words here
    values = {"word": word, "name": name, "kind": kind, "surrogate": surrogate, "window": window}
    values |= {"label_set": label_set, "label": label, "unsafe": json.dumps(kind == "nudity")}
    return Template((data_dir() / "new_concept.yaml").read_text(encoding="utf-8")).substitute(values, **quoted)
