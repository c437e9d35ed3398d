"""The offline writer: pairs and test prompts from the grammar of Janus-nano's world, without a network or a key.

An object's surrogate names another thing of the world in its place; a style's surrogate names another style or none.
The rest of the sentence stays, because both prompts are made from one random state. No surrogate is a mere background:
every image of nano's world shows a thing.
"""

import json
import random
from dataclasses import dataclass, replace
from typing import Any

from ecgvf.core import seeds
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import WriterError
from ecgvf.pairs.writer import Answer, Provenance, Request, call_id
from ecgvf.world import grammar

NAME = "offline"
MODEL = "nano-grammar"
TEMPLATE = "nano/world.yaml"


@dataclass(frozen=True, slots=True)
class Candidates:
    """Names of things (or styles) of the world: those that mean the concept, and those that may replace it."""

    targets: tuple[str, ...]
    surrogates: tuple[str, ...]


class OfflineWriter:
    """Writes about the things and styles of nano's world. Its prompts depend on concept, seed and iteration only."""

    name = NAME

    def settings(self) -> dict[str, Any]:
        return {"writer": NAME, "grammar": grammar.fingerprint()}

    def check(self, concept: Concept) -> None:
        find_candidates(concept)

    def write(self, request: Request) -> Answer:
        candidates = find_candidates(request.concept)
        prompts = [_write(request, candidates, position) for position in range(request.count)]
        provenance = Provenance(
            writer=self.name,
            split=request.split,
            iteration=request.iteration,
            call_id=call_id(self, request),
            model_asked=MODEL,
            model_answered=MODEL,
            template=TEMPLATE,
            template_hash=grammar.fingerprint(),
        )
        return Answer(json.dumps(prompts, ensure_ascii=False), provenance)


def _write(request: Request, candidates: Candidates, position: int) -> dict[str, str]:
    """One pair or test prompt, as the JSON object of an answer."""
    purpose = f"{request.concept.name}/{request.split}/{request.iteration}/{position}"
    if request.build_round:
        purpose += f"/round {request.build_round}"
    rng = random.Random(seeds.derive(request.seed, purpose, "offline writer"))
    is_style = request.concept.kind == "style"
    target, surrogate = rng.choice(candidates.targets), rng.choice(candidates.surrogates)
    description = _describe(rng, style=target) if is_style else _describe(rng, thing=target)
    wording: grammar.Wording = rng.choices(list(grammar.WORDINGS), list(grammar.WORDINGS.values()))[0]
    held_out = request.split == "test" and rng.random() < grammar.HELD_OUT_FORMS_SHARE
    forms: grammar.Forms = "held-out" if held_out else "train"
    state = rng.getrandbits(64)
    written = grammar.sentence(description, random.Random(state), forms=forms, wording=wording)
    prompt = {"target": written.text, "target_term": written.style if is_style else written.term}
    if request.split == "test":
        return prompt
    if is_style:
        description = replace(description, style=surrogate)
    else:
        description = replace(description, thing=surrogate)
        # However indirectly the target means the concept, the surrogate goes by its name.
        wording = "spanish" if wording == "spanish" else "name"
    written = grammar.sentence(description, random.Random(state), forms=forms, wording=wording)
    return prompt | {"surrogate": written.text, "surrogate_term": written.style if is_style else written.term}


def find_candidates(concept: Concept) -> Candidates:
    """The things or styles of nano's world that prompts about ``concept`` may name.

    Those of ``judge_labels: {nano: [...]}`` and the concept's name mean it; its surrogates go by any of their words.
    Raises ``WriterError`` if nano can render neither the concept nor one of its surrogates, listing what it can.
    """
    world = grammar.load_world()
    is_style = concept.kind == "style"
    names, find = (list(world.styles), grammar.find_styles) if is_style else (list(world.things), grammar.find_things)
    targets = tuple(dict.fromkeys(label for label in (*concept.labels("nano"), concept.name) if label in names))
    if grammar.PLAIN in targets or not targets or concept.kind == "nudity":
        styles = ", ".join(style for style in world.styles if style != grammar.PLAIN)
        raise WriterError(
            f"Janus-nano cannot render {concept.name!r}, so the offline writer cannot write about it. It renders the "
            f"things {', '.join(world.things)}; and the styles {styles}. "
            f"Use one of these, or name it in the concept's file under judge_labels, nano"
        )
    excluded = {*targets, *find(concept.neighbours)}
    surrogates = tuple(name for name in find(concept.surrogates) if name not in excluded)
    if not surrogates:
        raise WriterError(
            f"Janus-nano renders none of the surrogates of {concept.name!r} ({', '.join(concept.surrogates)}): "
            f"add some of these to the concept's file: {', '.join(name for name in names if name not in excluded)}"
        )
    return Candidates(targets, surrogates)


def _describe(rng: random.Random, *, thing: str | None = None, style: str | None = None) -> grammar.Description:
    world = grammar.load_world()
    is_plain = rng.random() < grammar.PLAIN_SHARE
    return grammar.describe(
        thing or rng.choice(list(world.things)),
        rng.choice(list(world.skies)),
        rng.choice(list(world.grounds)),
        rng.choice(list(world.companions)) if rng.random() < grammar.COMPANION_SHARE else None,
        style or (grammar.PLAIN if is_plain else rng.choice([name for name in world.styles if name != grammar.PLAIN])),
        rng,
    )
