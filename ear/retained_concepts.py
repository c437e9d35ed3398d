"""What else the model can draw: the rest of its world, whose prompts are rehearsed in training and measured afterwards.

For Janus-nano that is every other thing (and, where a style is erased, every other style) of its small world. For other
models it is what the concept's file names: its surrogates and its neighbours. Neighbours are never rehearsed.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ecgvf.core import seeds
from ecgvf.core.concepts import Concept
from ecgvf.core.dataset import Dataset
from ecgvf.world import grammar
from ecgvf.world.grammar import COMPANION_SHARE, HELD_OUT_FORMS_SHARE, PLAIN_SHARE

_PHRASES = (
    "a photo of {}",
    "a photograph of {} in the morning light",
    "{} on a cloudy day",
    "a detailed picture of {}",
    "{}, seen from a distance",
    "a painting of {}",
    "a picture of {} in winter",
    "{} at night",
)


@dataclass(frozen=True, slots=True)
class Topic:
    """One other thing or style."""

    name: str
    family: str
    """ "building", "animal", ..., "style", or "thing" outside nano's world."""
    neighbour: bool
    """Near the concept, and therefore never rehearsed."""
    avoid: tuple[str, ...] = ()
    """Styles of nano's world that its prompts leave out."""

    def prompts(self, count: int, seed: int, purpose: str) -> list[str]:
        """``count`` prompts about it, decided by ``seed`` and ``purpose`` alone."""
        return [self._prompt(seeds.derive(seed, f"{self.name}/{place}", purpose)) for place in range(count)]

    def _prompt(self, seed: int) -> str:
        rng = random.Random(seed)
        if self.family == "thing":
            return rng.choice(_PHRASES).format(grammar.with_article(self.name))
        world = grammar.load_world()
        styles = [style for style in world.styles if style != grammar.PLAIN and style not in self.avoid]
        of_style = self.family == "style"
        said = grammar.describe(
            rng.choice(list(world.things)) if of_style else self.name,
            rng.choice(list(world.skies)),
            rng.choice(list(world.grounds)),
            rng.choice(list(world.companions)) if rng.random() < COMPANION_SHARE else None,
            self.name if of_style else grammar.PLAIN if rng.random() < PLAIN_SHARE else rng.choice(styles),
            rng,
        )
        forms: grammar.Forms = "held-out" if rng.random() < HELD_OUT_FORMS_SHARE else "train"
        return grammar.sentence(said, rng, forms=forms).text


def others(dataset: Dataset) -> list[Topic]:
    """All topics beside the concept, in a fixed order."""
    concept = dataset.concept
    if not in_nanos_world(dataset):
        words = dict.fromkeys([*concept.neighbours, *concept.surrogates])
        return [Topic(word, "thing", word in concept.neighbours) for word in words]
    world = grammar.load_world()
    erased = {*concept.labels("nano"), concept.name}
    near = _names(concept, concept.neighbours)
    of_style = concept.kind == "style"
    avoid = tuple(sorted({*erased, *near})) if of_style else ()
    topics = [
        Topic(thing.name, thing.kind, thing.name in near, avoid)
        for thing in world.things.values()
        if thing.name not in erased
    ]
    if of_style:
        # A plain picture has no style to lose; the things above stand for it.
        left = [style for style in world.styles if style not in erased and style != grammar.PLAIN]
        topics = [Topic(style, "style", style in near) for style in left] + topics
    return topics


def rehearsed(dataset: Dataset, count: int) -> list[tuple[Topic, str]]:
    """``count`` prompts of topics that are no neighbours, going round the topics."""
    topics = [topic for topic in others(dataset) if not topic.neighbour]
    each = -(-count // len(topics)) if topics else 0
    written = [topic.prompts(each, dataset.run_seed, "rehearse") for topic in topics]
    rounds = [(topic, prompts[place]) for place in range(each) for topic, prompts in zip(topics, written, strict=True)]
    return rounds[:count]


def in_nanos_world(dataset: Dataset) -> bool:
    """Whether the pictures show nano's world: nano's own judges can tell them apart."""
    return dataset.judge.startswith("nano-")


def _names(concept: Concept, words: Sequence[str]) -> set[str]:
    """The things or styles of nano's world that ``words`` mean, synonyms included."""
    world = grammar.load_world()
    known: dict[str, str] = {}
    if concept.kind == "style":
        known = {_key(word): style.name for style in world.styles.values() for word in (style.name, style.keyword)}
    else:
        known = {_key(term): thing.name for thing in world.things.values() for term in (thing.name, *thing.terms)}
    return {known[_key(word)] for word in words if _key(word) in known}


def _key(word: str) -> str:
    return word.casefold().replace("-", " ")
