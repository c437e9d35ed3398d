"""Retained concepts: what else the model can render. They are rehearsed in training and measured afterwards.

In Janus-nano's world they are all other things and, if a style is erased, all other styles; the grammar writes their
prompts. Outside it they are the concepts of the dataset's retain split, or, without this split, those with shipped
captions (``ecgvf.pairs.captions``). Neighbours are never rehearsed.
"""

import hashlib
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from ecgvf.core import seeds
from ecgvf.core.concepts import Concept
from ecgvf.core.dataset import Dataset
from ecgvf.pairs.captions import captioned_concepts, shipped_captions
from ecgvf.world import domain, grammar

Group = Literal["concept", "neighbours", "surrogates", "rehearsed", "unrehearsed"]
"""How a measured concept relates to the erased concept; "concept" is the erased concept itself. Groups are disjoint: a
concept that fits several is in the first."""

RehearsedConcepts = Literal["all", "half"] | Annotated[int, Field(ge=1)]
"""Which retained concepts to rehearse, of those that are not neighbours: all, every second in alphabetical order, or
this many, evenly spaced in that order."""

Use = Literal["rehearse", "validation", "test"]
"""What prompts of a retained concept are for; each use has its own prompts."""

_USES: tuple[Use, ...] = ("rehearse", "validation", "test", "rehearse", "rehearse")
"""The uses of a concept's captions, in turn: shipped captions in their order, others in the order of their hashes, so
that the order in a dataset does not matter."""

PURPOSES: dict[Use, str] = {"rehearse": "rehearse", "validation": "evaluate", "test": "evaluate on test"}
"""Use → the purpose that its seeds are derived for, which differs from that of filtered images."""


@dataclass(frozen=True, slots=True)
class RetainedConcept:
    """A thing or a style that must survive the erasure."""

    name: str
    family: str
    """ "building", "animal", ..., "style", or "thing" outside nano's world."""
    neighbour: bool
    """Whether it is near the erased concept, and so never rehearsed."""
    surrogate: bool = False
    """Whether the concept's file lists it as a surrogate; of these, surrogate prompts may name the first only."""
    excluded_styles: tuple[str, ...] = ()
    """Styles of nano's world that its prompts do not use."""
    captions: tuple[str, ...] | None = None
    """Outside nano's world, its prompts."""

    def group(self, rehearsed: Collection[str]) -> Group:
        """Its group, if training ``rehearsed`` the concepts with these names."""
        if self.neighbour:
            return "neighbours"
        if self.surrogate:
            return "surrogates"
        return "rehearsed" if self.name in rehearsed else "unrehearsed"

    def prompts(self, count: int, seed: int, use: Use) -> list[tuple[str, str]]:
        """``count`` prompts about it, as (id, prompt), such as "castle/3".

        In nano's world, prompt i depends only on ``seed``, ``use`` and i; of 1,400 prompts some ten repeat another of
        their concept, under an id of their own. Outside, equal prompts have one id: the captions of this use are
        repeated, and a concept without any has no prompts.
        """
        if self.captions is None:
            sentences = [self._sentence(seeds.derive(seed, f"{self.name}/{i}", PURPOSES[use])) for i in range(count)]
            return [(f"{self.name}/{index}", text) for index, text in enumerate(sentences)]
        numbered = [(f"{self.name}/{number}", text) for number, text in enumerate(self.captions)]
        uses = _uses(self.name, self.captions)
        chosen = [prompt for prompt in numbered if uses[prompt[1]] == use]
        return [chosen[index % len(chosen)] for index in range(count if chosen else 0)]

    def _sentence(self, seed: int) -> str:
        rng = random.Random(seed)
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
    """The retained concepts of ``dataset``, in a fixed order."""
    return _of_nano(dataset.concept) if in_nano_world(dataset) else _with_captions(dataset)


def retained_families(concept: Concept, model: str) -> list[str]:
    """Sorted families of what must survive the erasure of ``concept`` from ``model``, without a retain split."""
    if model == domain.NANO:
        return sorted({each.family for each in _of_nano(concept)})
    return sorted({each.kind for each in captioned_concepts(concept)})


def _of_nano(concept: Concept) -> list[RetainedConcept]:
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


def _with_captions(dataset: Dataset) -> list[RetainedConcept]:
    """Outside nano's world: with the accepted prompts of the retain split, or without it with the shipped captions."""
    known = {each.name: each for each in captioned_concepts(dataset.concept)}
    captions = {name: each.captions if each.shipped else () for name, each in known.items()}
    if dataset.retain is not None:
        captions = dict.fromkeys(known, ())
        for record in dataset.retain:
            name = str(record.pair.retained_concept)
            captions[name] = (*captions.get(name, ()), record.pair.target)
    concepts = []
    for name, texts in captions.items():
        each = known.get(name)
        family, neighbour, surrogate = (each.kind, each.neighbour, each.surrogate) if each else ("thing", False, False)
        concepts.append(RetainedConcept(name, family, neighbour, surrogate, captions=texts))
    return concepts


def _uses(name: str, captions: Sequence[str]) -> dict[str, Use]:
    """Caption → its use."""
    shipped = shipped_captions(name)
    others = sorted(set(captions) - set(shipped), key=lambda text: hashlib.sha256(text.encode()).digest())
    return {text: _USES[index % len(_USES)] for texts in (others, shipped) for index, text in enumerate(texts)}


def rehearsal_prompts(
    dataset: Dataset, count: int, choice: RehearsedConcepts = "all"
) -> list[tuple[RetainedConcept, str]]:
    """At most ``count`` (concept, prompt), the concepts in turn, of the retained concepts that ``choice`` selects.

    Neighbours are never among them.
    """
    concepts = [
        concept
        for concept in retained_concepts(dataset)
        if not concept.neighbour and concept.prompts(1, dataset.run_seed, "rehearse")
    ]
    if choice != "all":
        concepts.sort(key=lambda concept: (concept.name.casefold(), concept.name))
        concepts = concepts[::2] if choice == "half" else _spaced(concepts, choice)
    per_concept = -(-count // len(concepts)) if concepts else 0
    prompts = [concept.prompts(per_concept, dataset.run_seed, "rehearse") for concept in concepts]
    by_turns = [
        (concept, text)
        for turn in zip(*prompts, strict=True)
        for concept, (_, text) in zip(concepts, turn, strict=True)
    ]
    return by_turns[:count]


def _spaced(concepts: Sequence[RetainedConcept], number: int) -> list[RetainedConcept]:
    """``number`` of ``concepts``, or all if there are fewer, evenly spaced."""
    number = min(number, len(concepts))
    return [concepts[index * len(concepts) // number] for index in range(number)]


def rehearsed_concepts(dataset: Dataset, count: int, choice: RehearsedConcepts = "all") -> list[str]:
    """Sorted names of the concepts among ``rehearsal_prompts``."""
    return sorted({concept.name for concept, _ in rehearsal_prompts(dataset, count, choice)})


def in_nano_world(dataset: Dataset) -> bool:
    """Whether the images show nano's world, so that nano's judges can classify them."""
    return domain.in_nano_world(dataset.model, dataset.judge)
