"""Retained concepts: what else the model can render. They are rehearsed in training and measured afterwards.

For Janus-nano these are all other things of its world and, if a style is erased, all other styles. For other models
they are what the concept's file names: its surrogates and its neighbours. Neighbours are never rehearsed.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ecgvf.core import seeds
from ecgvf.core.dataset import Dataset
from ecgvf.world import grammar

Group = Literal["concept", "neighbours", "surrogates", "rehearsed", "unrehearsed"]
"""What a measured concept is to the erased one; "concept" is the erased one itself. The others are disjoint: a concept
that could be in several is in the first of them."""

_TEMPLATES = (
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
class RetainedConcept:
    """A thing or a style that must survive the erasure."""

    name: str
    family: str
    """ "building", "animal", ..., "style", or "thing" outside nano's world."""
    neighbour: bool
    """Whether it is near the erased concept, and so never rehearsed."""
    surrogate: bool = False
    """Whether surrogate prompts name it."""
    excluded_styles: tuple[str, ...] = ()
    """Styles of nano's world that its prompts do not use."""

    def group(self, rehearsed: Collection[str]) -> Group:
        """Its group if training rehearsed the concepts of these names."""
        if self.neighbour:
            return "neighbours"
        if self.surrogate:
            return "surrogates"
        return "rehearsed" if self.name in rehearsed else "unrehearsed"

    def prompts(self, count: int, seed: int, purpose: str) -> list[str]:
        """``count`` prompts about it. Prompt i depends on ``seed``, ``purpose`` and i alone."""
        return [self._prompt(seeds.derive(seed, f"{self.name}/{index}", purpose)) for index in range(count)]

    def _prompt(self, seed: int) -> str:
        rng = random.Random(seed)
        if self.family == "thing":
            return rng.choice(_TEMPLATES).format(grammar.with_article(self.name))
        world = grammar.load_world()
        styles = [style for style in world.styles if style != grammar.PLAIN and style not in self.excluded_styles]
        is_style = self.family == "style"
        description = grammar.describe(
            rng.choice(list(world.things)) if is_style else self.name,
            rng.choice(list(world.skies)),
            rng.choice(list(world.grounds)),
            rng.choice(list(world.companions)) if rng.random() < grammar.COMPANION_SHARE else None,
            self.name if is_style else grammar.PLAIN if rng.random() < grammar.PLAIN_SHARE else rng.choice(styles),
            rng,
        )
        forms: grammar.Forms = "held-out" if rng.random() < grammar.HELD_OUT_FORMS_SHARE else "train"
        return grammar.sentence(description, rng, forms=forms).text


def retained_concepts(dataset: Dataset) -> list[RetainedConcept]:
    """Everything but the erased concept, in a fixed order."""
    concept = dataset.concept
    if not in_nano_world(dataset):
        names = dict.fromkeys([*concept.neighbours, *concept.surrogates])
        return [
            RetainedConcept(name, "thing", neighbour=name in concept.neighbours, surrogate=name in concept.surrogates)
            for name in names
        ]
    world = grammar.load_world()
    erased = {*concept.labels("nano"), concept.name}
    is_style = concept.kind == "style"
    find = grammar.find_styles if is_style else grammar.find_things
    neighbours, surrogates = find(concept.neighbours), find(concept.surrogates)
    excluded_styles = tuple(sorted({*erased, *neighbours})) if is_style else ()

    def retained(name: str, family: str) -> RetainedConcept:
        return RetainedConcept(name, family, name in neighbours, name in surrogates, excluded_styles)

    things = [retained(thing.name, thing.kind) for thing in world.things.values() if thing.name not in erased]
    if not is_style:
        return things
    # A plain image has no style to lose; the things stand for it.
    return [*(retained(style, "style") for style in world.styles if style not in {*erased, grammar.PLAIN}), *things]


def rehearsal_prompts(dataset: Dataset, count: int) -> list[tuple[RetainedConcept, str]]:
    """``count`` prompts of the retained concepts that are no neighbours, one of each concept before a second of any."""
    concepts = [concept for concept in retained_concepts(dataset) if not concept.neighbour]
    per_concept = -(-count // len(concepts)) if concepts else 0
    prompts = [concept.prompts(per_concept, dataset.run_seed, "rehearse") for concept in concepts]
    by_turns = [pair for turn in zip(*prompts, strict=True) for pair in zip(concepts, turn, strict=True)]
    return by_turns[:count]


def rehearsed_concepts(dataset: Dataset, count: int) -> set[str]:
    """Names of the concepts among ``count`` rehearsal prompts."""
    return {concept.name for concept, _ in rehearsal_prompts(dataset, count)}


def in_nano_world(dataset: Dataset) -> bool:
    """Whether the images show nano's world, so that nano's judges can classify them."""
    return dataset.model == "janus-nano" or dataset.judge.startswith("nano-")
