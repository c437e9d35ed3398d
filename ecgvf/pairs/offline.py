"""The offline writer: pairs and test prompts from nano's grammar, with no network and no key.

Object: the words for the thing are replaced by those for another thing of the world. Style: the words for the style are
removed, or replaced by another's. All else in the sentence stays, because both are made from one state of chance. There
is no "background" surrogate: every picture of nano's world shows a thing.
"""

import json
import random
from dataclasses import dataclass, replace
from typing import Any

from ecgvf.core import seeds
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import WriterError
from ecgvf.llm.clients import Answer, Request, call_id
from ecgvf.world.grammar import (
    COMPANION_SHARE,
    HELD_OUT_FORMS_SHARE,
    PLAIN,
    PLAIN_SHARE,
    WORDINGS,
    Description,
    Forms,
    Sentence,
    Wording,
    describe,
    find_styles,
    find_things,
    fingerprint,
    load_world,
    sentence,
)

NAME = "offline"
MODEL = "nano-grammar"
TEMPLATE = "nano/world.yaml"


@dataclass(frozen=True, slots=True)
class Scope:
    """A concept in terms of the world: what target prompts show, and what surrogate prompts show in its place."""

    targets: tuple[str, ...]
    surrogates: tuple[str, ...]


class OfflineWriter:
    """Writes about the things and styles of nano's world. Decided by concept, run seed and iteration alone."""

    name = NAME

    def settings(self) -> dict[str, Any]:
        return {"writer": NAME, "grammar": fingerprint()}

    def check(self, concept: Concept) -> None:
        scope(concept)

    def write(self, request: Request) -> Answer:
        within = scope(request.concept)
        prompts = [self._prompt(request, within, position) for position in range(request.count)]
        return Answer(
            call_id=call_id(self, request),
            text=json.dumps(prompts, ensure_ascii=False),
            model_asked=MODEL,
            model_answered=MODEL,
            template=TEMPLATE,
            template_hash=fingerprint(),
        )

    def _prompt(self, request: Request, within: Scope, position: int) -> dict[str, str]:
        place = f"{request.concept.name}/{request.split}/{request.iteration}/{position}"
        if request.round:
            place += f"/round {request.round}"
        rng = random.Random(seeds.derive(request.seed, place, "offline writer"))
        of_style = request.concept.kind == "style"
        target, surrogate = rng.choice(within.targets), rng.choice(within.surrogates)
        described = _describe(rng, style=target) if of_style else _describe(rng, thing=target)
        wording: Wording = rng.choices(list(WORDINGS), list(WORDINGS.values()))[0]
        forms: Forms = "held-out" if request.split == "test" and rng.random() < HELD_OUT_FORMS_SHARE else "train"
        state = rng.getrandbits(64)
        said = sentence(described, random.Random(state), forms=forms, wording=wording)
        prompt = {"target": said.text, "target_term": _words(said, of_style)}
        if request.split == "train":
            if of_style:
                other = replace(described, style=surrogate)
            else:
                other = replace(described, thing=surrogate)
                # Another thing goes by its name: whatever it takes to say the concept, its substitute is plain.
                wording = "spanish" if wording == "spanish" else "name"
            said = sentence(other, random.Random(state), forms=forms, wording=wording)
            prompt |= {"surrogate": said.text, "surrogate_term": _words(said, of_style)}
        return prompt


def scope(concept: Concept) -> Scope:
    """What of nano's world the concept and its surrogates are.

    A concept says so by its ``judge_labels: {nano: [...]}``, or by its name. Raises ``WriterError`` where nano cannot
    draw the concept or none of its surrogates, naming what it can draw.
    """
    world = load_world()
    known = list(world.styles if concept.kind == "style" else world.things)
    named = find_styles if concept.kind == "style" else find_things
    targets = tuple(dict.fromkeys(label for label in (*concept.labels("nano"), concept.name) if label in known))
    if PLAIN in targets or not targets or concept.kind == "nudity":
        styles = ", ".join(style for style in world.styles if style != PLAIN)
        raise WriterError(
            f"Janus-nano cannot draw {concept.name!r}, so the offline writer cannot write about it. It draws the "
            f"things {', '.join(world.things)}; and the styles {styles}. "
            f"Take one of these, or name it in the concept's file under judge_labels, nano"
        )
    kept_out = {*targets, *named(concept.neighbours)}
    surrogates = tuple(name for name in named(concept.surrogates) if name not in kept_out)
    if not surrogates:
        raise WriterError(
            f"Janus-nano draws none of the surrogates of {concept.name!r} ({', '.join(concept.surrogates)}): "
            f"add some of these to the concept's file: {', '.join(name for name in known if name not in kept_out)}"
        )
    return Scope(targets, surrogates)


def _describe(rng: random.Random, *, thing: str | None = None, style: str | None = None) -> Description:
    world = load_world()
    styled = list(world.styles)
    plain = rng.random() < PLAIN_SHARE
    return describe(
        thing or rng.choice(list(world.things)),
        rng.choice(list(world.skies)),
        rng.choice(list(world.grounds)),
        rng.choice(list(world.companions)) if rng.random() < COMPANION_SHARE else None,
        style or (PLAIN if plain else rng.choice([name for name in styled if name != PLAIN])),
        rng,
    )


def _words(said: Sentence, of_style: bool) -> str:
    return said.style if of_style else said.term
