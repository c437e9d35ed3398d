"""What a model outside nano's world has to keep while a concept is erased, and the captions of it that ship.

``data/retained_concepts.yaml`` names things as ImageNet does and painters as WikiArt does, so that judges can tell
whether they are still there. ``write`` makes a retain split of them, without an LLM.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from ecgvf.core.concepts import Concept
from ecgvf.core.files import canonical_json
from ecgvf.core.paths import data_dir
from ecgvf.pairs.writer import Answer, Provenance

NAME = "captions"
"""The writer of the retain split that ships."""

CAPTIONS = 5
"""Captions of each retained concept."""

Kind = Literal["thing", "style"]

_TEMPLATES: Mapping[Kind, tuple[str, ...]] = {
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
"""Captions of what the file does not caption."""


@dataclass(frozen=True, slots=True)
class CaptionedConcept:
    """A retained concept."""

    name: str
    """A judge's label for it, if a judge has one."""
    kind: Kind
    captions: tuple[str, ...]
    neighbour: bool
    """Whether the erased concept's file calls it a neighbour, or its label a near one."""
    surrogate: bool


def captioned_concepts(concept: Concept) -> list[CaptionedConcept]:
    """What must stay while ``concept`` is erased: its neighbours, its surrogates, and the others that ship.

    Painters are among them if the concept is a style. No caption names the concept.
    """
    shipped = _shipped()
    own: Kind = "style" if concept.kind == "style" else "thing"
    near = [label for labels in concept.near_labels.values() for label in labels]
    neighbours = {name.casefold(): name for name in [*concept.neighbours, *near]}
    surrogates = {name.casefold(): name for name in concept.surrogates}
    kinds: list[Kind] = ["style", "thing"] if own == "style" else ["thing"]
    others = {name.casefold(): name for kind in kinds for name in shipped[kind]}
    erased = {concept.name, *(label.casefold() for labels in concept.judge_labels.values() for label in labels)}
    found = []
    for key, name in {**neighbours, **surrogates, **others}.items():
        kind = next((kind for kind in kinds if name in shipped[kind]), own)
        captions = shipped[kind].get(name) or _captions(name, kind)
        captions = tuple(text for text in captions if not (concept.term_in(text) or concept.unseen_in(text)))
        if key not in erased and captions:
            found.append(CaptionedConcept(name, kind, captions, key in neighbours, key in surrogates))
    return found


def settings() -> dict[str, Any]:
    """What decides the retain split of a concept; part of its set's fingerprint."""
    return {"writer": {"writer": NAME, "captions": _hash()}}


def write(concept: Concept, per_concept: int) -> Answer:
    """``per_concept`` captions of each retained concept, one of each before a second of any, as an LLM would answer."""
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
        call_id=hashlib.sha256(canonical_json(content)).hexdigest()[:16],
        model_asked=NAME,
        model_answered=NAME,
        template=_file().name,
        template_hash=_hash(),
    )
    return Answer(json.dumps({"prompts": prompts}, ensure_ascii=False), provenance)


def _file() -> Path:
    return data_dir() / "retained_concepts.yaml"


@cache
def _hash() -> str:
    return hashlib.sha256(_file().read_bytes()).hexdigest()


@cache
def _shipped() -> Mapping[Kind, Mapping[str, tuple[str, ...]]]:
    content = yaml.safe_load(_file().read_text(encoding="utf-8"))
    sections: Mapping[Kind, str] = {"thing": "things", "style": "styles"}
    return {
        kind: {name: tuple(captions) for name, captions in content[section].items()}
        for kind, section in sections.items()
    }


def _captions(name: str, kind: Kind) -> tuple[str, ...]:
    words = name.replace("-", " ")
    if kind == "thing":
        words = f"{'an' if words[0] in 'aeiouAEIOU' else 'a'} {words}"
    return tuple(template.format(words) for template in _TEMPLATES[kind])
