"""Retained concepts: what a model other than Janus-nano must keep while a concept is erased, with shipped captions.

``data/retained_concepts.yaml`` names things as ImageNet does and painters as WikiArt does, so that judges can tell
whether they are still there. ``write`` makes a retain split of its captions, without an LLM.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from ecgvf.core import strict_yaml
from ecgvf.core.concepts import Concept, name_key, names_any
from ecgvf.core.files import canonical_json, content_hash
from ecgvf.core.paths import data_dir
from ecgvf.pairs.writer import Answer, Provenance

NAME = "captions"
"""The writer of the retain split that ships."""

RetainedKind = Literal["thing", "style"]

_FILE = "retained_concepts.yaml"

_SECTIONS: Mapping[RetainedKind, str] = {"thing": "things", "style": "styles"}
"""RetainedKind → its section of the file."""

_TEMPLATES: Mapping[RetainedKind, tuple[str, ...]] = {
    "thing": (
        "A photo of {}.",
        "A detailed picture of {} in the morning light.",
        "A picture of {} on a cloudy day.",
        "A photo of {}, seen from a distance.",
        "A painting of {}.",
    ),
    "style": (
        "A landscape in the style of {}.",
        "A still life in the style of {}.",
        "A portrait in the style of {}.",
        "A street in winter in the style of {}.",
        "A boat on a lake in the style of {}.",
    ),
}
"""Captions of neighbours and surrogates that are not in the file."""

_PHRASES: Mapping[str, str] = {
    "Brittany spaniel": "a Brittany spaniel",
    "English setter": "an English setter",
    "swimwear": "swimwear",
}
"""What stands in the templates for names that begin with a capital and need an article, or that take none."""

_VOWEL_SOUND = re.compile(
    r"8|1[18](?:\d\d)?(?!\d)|heir|hono|honest|hour|(?!e[uw]|onc?e\b|uni[^dmn]|u[bcfhjkqrst][aeiou])[aeiou]"
)
"""How words begin that take "an", spoken as they are: "an hour", "an 8-bit console", but "a unicorn". (The package
inflect 7.6 writes "a 8-bit console", and takes a bus for a plural.)"""

_PLURAL = re.compile(r"(?<![aiosu])(?<!\blen)(?<!\btriceratop)s$|\b(?:people|children|men|women)$")
"""How plurals end, except for endings that singulars share ("bus", "glass", "canvas"), whose names keep an article."""

_PREPOSITION = re.compile(r" (?:and|at|by|from|in|of|on|with) ")
"""What follows the noun that decides the number: a bouquet of flowers is one thing."""


@dataclass(frozen=True, slots=True)
class CaptionedConcept:
    """A retained concept."""

    name: str
    """A judge's label for it, if a judge has one."""
    kind: RetainedKind
    captions: tuple[str, ...]
    shipped: bool
    """Whether the captions are from the file; otherwise they are made from templates."""
    neighbour: bool
    """Whether it is a neighbour or near label in the erased concept's file, or most captions name a neighbour."""
    surrogate: bool


def captioned_concepts(concept: Concept) -> list[CaptionedConcept]:
    """What must stay while ``concept`` is erased: its neighbours, its surrogates, and the concepts in the file.

    Painters are included if the concept is a style. Left out are the concept itself by any of its labels, everything
    whose captions name it, and surrogates that are no things (those of nudity and of styles).
    """
    own: RetainedKind = "style" if concept.kind == "style" else "thing"
    kinds: list[RetainedKind] = ["style", "thing"] if own == "style" else ["thing"]
    near = [label for labels in concept.near_labels.values() for label in labels]
    neighbours = _by_key([*concept.neighbours, *near])
    surrogates = _by_key(concept.surrogates if concept.kind == "object" else ())
    erased = {name_key(concept.name), *_by_key(label for labels in concept.judge_labels.values() for label in labels)}
    shipped = {name_key(name): (kind, name) for kind in kinds for name in _shipped()[kind]}
    found = []
    for key in dict.fromkeys([*neighbours, *surrogates, *shipped]):
        kind, name = shipped.get(key, (own, neighbours.get(key) or surrogates.get(key, "")))
        captions = _shipped()[kind].get(name) or _captions(name, kind)
        if key in erased or any(concept.term_in(text) or concept.unseen_in(text) for text in captions):
            continue
        # A school bus is no school, though its captions name one.
        others = [each for each in concept.neighbours if not names_any([each], name) or _ends_with(name, each)]
        named = sum(names_any(others, text) for text in captions) > len(captions) / 2
        found.append(
            CaptionedConcept(
                name, kind, captions, key in shipped, key in neighbours or named, surrogate=key in surrogates
            )
        )
    return found


def shipped_captions(name: str) -> tuple[str, ...]:
    """The captions of ``name`` in the file; empty if it has none."""
    return next((captions for kind in _SECTIONS if (captions := _shipped()[kind].get(name))), ())


def captioned_names(kind: RetainedKind) -> list[str]:
    """The names of this kind that have captions in the file."""
    return list(_shipped()[kind])


def retained_name(concept: Concept, name: str) -> str | None:
    """``name`` in the spelling of ``captioned_concepts``, or unchanged if not among them; None if it is erased."""
    labels = [label for labels in concept.judge_labels.values() for label in labels]
    if concept.term_in(name) or name_key(name) in {name_key(each) for each in (concept.name, *labels)}:
        return None
    return _names(concept.model_dump_json()).get(name_key(name), name)


def is_retained(concept: Concept, name: str) -> bool:
    """Whether ``captioned_concepts`` has exactly this name."""
    return name in _names(concept.model_dump_json()).values()


def settings() -> dict[str, Any]:
    """What decides the retain split of a concept; part of its set's fingerprint."""
    return {"writer": {"writer": NAME, "captions": file_hash()}}


@cache
def file_hash() -> str:
    """SHA-256 of the file, the templates and their phrases; it decides, with the concept, what is retained."""
    templates = {kind: list(each) for kind, each in _TEMPLATES.items()}
    return hashlib.sha256(_content() + canonical_json({"templates": templates, "phrases": dict(_PHRASES)})).hexdigest()


def write(concept: Concept, per_concept: int) -> Answer:
    """``per_concept`` captions of each retained concept, in the format of an LLM's answer; concepts take turns."""
    retained = captioned_concepts(concept)
    prompts = [
        {"target": each.captions[turn], "retained_concept": each.name}
        for turn in range(per_concept)
        for each in retained
        if turn < len(each.captions)
    ]
    content = {**settings(), "concept": concept.model_dump(mode="json"), "count": per_concept}
    provenance = Provenance(
        writer=NAME,
        split="retain",
        iteration=0,
        call_id=content_hash(content),
        model_asked=NAME,
        model_answered=NAME,
        template=_FILE,
        template_hash=file_hash(),
    )
    return Answer(json.dumps({"prompts": prompts}, ensure_ascii=False), provenance)


def _ends_with(name: str, word: str) -> bool:
    return f" {name_key(name)}".endswith(f" {name_key(word)}")


def _by_key(names: Iterable[str]) -> dict[str, str]:
    return {name_key(name): name for name in names}


@cache
def _names(concept: str) -> Mapping[str, str]:
    """Key → name of the retained concepts of a concept, given as JSON."""
    return _by_key(each.name for each in captioned_concepts(Concept.model_validate_json(concept)))


def _content() -> bytes:
    return (data_dir() / _FILE).read_bytes()


@cache
def _shipped() -> Mapping[RetainedKind, Mapping[str, tuple[str, ...]]]:
    content = strict_yaml.load(_content().decode())
    return {
        kind: {name: tuple(captions) for name, captions in content[section].items()}
        for kind, section in _SECTIONS.items()
    }


def _captions(name: str, kind: RetainedKind) -> tuple[str, ...]:
    words = name.replace("-", " ")
    if kind == "thing" and not words.startswith("the ") and _takes_article(words):
        words = f"{'an' if _VOWEL_SOUND.match(words) else 'a'} {words}"
    return tuple(template.format(_PHRASES.get(name, words)) for template in _TEMPLATES[kind])


def _takes_article(words: str) -> bool:
    """Whether ``words`` are neither a proper name, which begins with a capital, nor in the plural."""
    head = _PREPOSITION.split(words)[0]
    return (words[0].islower() or words[0].isdecimal()) and not _PLURAL.search(head)
