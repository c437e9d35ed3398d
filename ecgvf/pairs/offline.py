"""The offline writer: pairs from the grammar of Janus-nano's world, without a network or a key.

An object's surrogate names another thing of the world in its place; a style's surrogate names another style or none.
The rest of the sentence stays, because both prompts are made from one random state. No surrogate is a mere background:
every image of nano's world shows a thing. Training and evaluation differ in their words and sentence forms
(``split_phrases``).
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ecgvf.core import seeds
from ecgvf.core.concepts import Concept, SurrogateChoice, check_surrogate_choice
from ecgvf.core.errors import WriterError
from ecgvf.core.files import content_hash
from ecgvf.core.records import Split, Wording
from ecgvf.pairs.split_phrases import AllowedPhrases, style_phrases, thing_phrases
from ecgvf.pairs.writer import Answer, Provenance, Request
from ecgvf.world import grammar

NAME = "offline"
MODEL = "nano-grammar"
TEMPLATE = "nano/world.yaml"
VERSION = 2
"""Part of the fingerprint: version 2 keeps some words and word orders for evaluation (``split_phrases``)."""

_TRAIN_SHARES: dict[Wording, float] = {"explicit": 0.5, "synonym": 0.28, "implicit": 0.13, "misspelled": 0.09}
"""Share of the training pairs of each class: as in nano's own training, without Spanish."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Names of things, or styles, of nano's world: those that mean the concept, and those that may replace it."""

    targets: tuple[str, ...]
    surrogates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfflineWriter:
    """Writes about the things and styles of nano's world. Its prompts depend on concept, seed and iteration only."""

    surrogate_choice: SurrogateChoice = "single"
    """What stands for the concept: the first surrogate that nano renders, one for each term, or any of them."""
    name: str = field(default=NAME, init=False)

    def __post_init__(self) -> None:
        check_surrogate_choice(self.surrogate_choice)

    def settings(self) -> dict[str, Any]:
        """What decides its answers; part of the set's fingerprint."""
        settings = {"writer": NAME, "version": VERSION, "grammar": grammar.fingerprint()}
        # Sets from before there was a choice are free.
        return settings if self.surrogate_choice == "free" else {**settings, "surrogates": self.surrogate_choice}

    def check(self, concept: Concept) -> None:
        """Raise ``WriterError`` if it cannot write about ``concept``."""
        find_candidates(concept)

    def write(self, request: Request) -> Answer:
        """The answer to one request. Raises ``WriterError``."""
        candidates = find_candidates(request.concept)
        choice = self.surrogate_choice
        prompts = [_write_pair(request, candidates, position, choice) for position in range(request.count)]
        provenance = Provenance(
            writer=self.name,
            split=request.split,
            iteration=request.iteration,
            call_id=self.call_id(request),
            model_asked=MODEL,
            model_answered=MODEL,
            template=TEMPLATE,
            template_hash=grammar.fingerprint(),
        )
        return Answer(json.dumps(prompts, ensure_ascii=False), provenance)

    def call_id(self, request: Request) -> str:
        """16 hex digits: a hash of the request and the settings."""
        content = {
            "writer": self.name,
            "settings": self.settings(),
            "concept": request.concept.model_dump(mode="json"),
            "split": request.split,
            "count": request.count,
            "iteration": request.iteration,
            "seed": request.seed,
        }
        if request.build_round:
            content["round"] = request.build_round
        return content_hash(content)


def phrases_of(concept: Concept, target: str, split: Split) -> dict[Wording, AllowedPhrases]:
    """Class of wording → the phrases that prompts of ``split`` may use for the thing or style ``target``."""
    return (style_phrases if concept.kind == "style" else thing_phrases)(concept, target, split)


def _write_pair(request: Request, candidates: Candidates, position: int, choice: SurrogateChoice) -> dict[str, str]:
    """The pair at ``position`` of the answer, as the answer's JSON object."""
    concept, is_style = request.concept, request.concept.kind == "style"
    rng = _rng(request, position)
    target, surrogate = rng.choice(candidates.targets), rng.choice(candidates.surrogates)
    description = _describe(rng, style=target) if is_style else _describe(rng, thing=target)
    allowed = phrases_of(concept, target, request.split)
    wording = _choose_wording(request, position, list(allowed), rng)
    phrases, thing_wording = allowed[wording], _thing_wording(wording, is_style, rng)
    state = rng.getrandbits(64)
    written = grammar.sentence(
        description,
        random.Random(state),
        forms=phrases.forms,
        wording=thing_wording,
        nouns=phrases.nouns,
        style=phrases.style,
        orders=phrases.orders,
    )
    if choice != "free":
        nano_concept = concept.model_copy(update={"surrogates": candidates.surrogates})
        surrogate = nano_concept.surrogate_of(written.text, choice) or surrogate
    # However indirectly the target means the concept, the surrogate goes by its name.
    replaced = replace(description, style=surrogate) if is_style else replace(description, thing=surrogate)
    without = grammar.sentence(
        replaced, random.Random(state), forms=phrases.forms, wording=thing_wording, orders=phrases.orders
    )
    return {
        "target": written.text,
        "target_term": written.style if is_style else written.term,
        "surrogate": without.text,
        "surrogate_term": without.style if is_style else without.term,
        "wording": wording,
    }


def _rng(request: Request, position: int) -> random.Random:
    """The generator of one pair: it depends on the request and the position alone."""
    purpose = f"{request.concept.name}/{request.split}/{request.iteration}/{position}"
    if request.build_round:
        purpose += f"/round {request.build_round}"
    return random.Random(seeds.derive(request.seed, purpose, "offline writer"))


def _choose_wording(request: Request, position: int, available: Sequence[Wording], rng: random.Random) -> Wording:
    """Draw from ``_TRAIN_SHARES`` for training; take turns for evaluation, which has equally many of each class."""
    if request.split == "train":
        return rng.choices(available, [_TRAIN_SHARES[each] for each in available])[0]
    return available[(request.iteration + position) % len(available)]


def _thing_wording(wording: Wording, is_style: bool, rng: random.Random) -> grammar.ThingWording:
    """How the grammar words the thing: by its name if things are what is erased, else in any way."""
    if wording == "other_language":
        return "spanish"
    if not is_style:
        return "name"
    english = {each: share for each, share in grammar.WORDINGS.items() if each != "spanish"}
    return rng.choices(list(english), list(english.values()))[0]


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
        named = "".join(f", nor {label!r} of its judge_labels" for label in concept.labels("nano"))
        raise WriterError(
            f"Janus-nano cannot render {concept.name!r}{named}, so the offline writer cannot write about it: let an "
            "LLM write (`ecgvf writers`), or give the concept's file judge_labels of nano, which are the things "
            f"{', '.join(world.things)}; and the styles {styles}"
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
