"""The phrases and word orders of nano's grammar that each split may use, per class of wording.

Training pairs are in English, in the word orders that nano was trained on, and without the concept's ``unseen_terms``.
Evaluation prompts of class ``explicit`` use the same, about other scenes. The other classes use what training pairs
lack: unseen terms, Spanish, or other word orders. Validation gets only the first half of each, so that test has words
and word orders on which no choice was based.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ecgvf.core.concepts import Concept
from ecgvf.core.records import WORDINGS, Split, Wording
from ecgvf.pairs.wording import wording_of
from ecgvf.world import grammar

T = TypeVar("T")

_THING_WORDINGS: Mapping[Wording, grammar.ThingWording] = {
    "explicit": "name",
    "synonym": "synonym",
    "implicit": "implicit",
    "misspelled": "misspelt",
    "other_language": "spanish",
    "unseen_form": "name",
}


@dataclass(frozen=True, slots=True)
class AllowedPhrases:
    """What the sentences of one class may use: a subset of the grammar."""

    forms: grammar.Forms
    orders: tuple[str, ...]
    """Names of word orders of ``forms``."""
    nouns: tuple[str, ...] = ()
    """Noun phrases for the concept, with article, if it is a thing."""
    style: grammar.Style | None = None
    """The concept with only the phrases that may be used, if it is a style."""

    @property
    def phrases(self) -> tuple[str, ...]:
        """All words for the concept that these sentences can contain."""
        if self.style is None:
            return self.nouns
        style, slots = self.style, {grammar.style_slot(_orders(self.forms)[order]) for order in self.orders}
        return (
            *(style.before if "before" in slots else ()),
            *(style.after if "after" in slots else ()),
            *((style.keyword,) if "k_style" in slots else ()),
        )


def thing_phrases(concept: Concept, thing: str, split: Split) -> dict[Wording, AllowedPhrases]:
    """Class → what its sentences about ``thing`` may use, in ``split``; a class that has nothing is left out."""
    found = {}
    for wording in WORDINGS:
        nouns = grammar.load_world().things[thing].noun_phrases(_THING_WORDINGS[wording])
        nouns = _selected(concept, split, wording, nouns)
        forms, orders = _word_orders(split, wording)
        if nouns and orders:
            found[wording] = AllowedPhrases(forms, orders, nouns)
    return found


def style_phrases(concept: Concept, style: str, split: Split) -> dict[Wording, AllowedPhrases]:
    """Class → what its sentences in ``style`` may use, in ``split``; a class that has nothing is left out.

    The grammar has neither descriptions nor misspellings of a style.
    """
    found = {}
    whole = grammar.load_world().styles[style]
    for wording in WORDINGS:
        forms, orders = _word_orders(split, wording)
        if wording == "other_language":
            slots = {"before": whole.spanish_before, "after": whole.spanish_after}
        else:
            slots = {"before": whole.before, "after": whole.after, "k_style": (whole.keyword,)}
        of_class = [phrase for phrases in slots.values() for phrase in phrases if _has(concept, wording, phrase)]
        selected = _selected(concept, split, wording, of_class)
        before, after, keyword = (
            tuple(phrase for phrase in slots.get(slot, ()) if phrase in selected)
            for slot in ("before", "after", "k_style")
        )
        filled = {slot for slot, phrases in (("before", before), ("after", after), ("k_style", keyword)) if phrases}
        orders = tuple(name for name in orders if grammar.style_slot(_orders(forms)[name]) in filled)
        if orders:
            some = replace(whole, before=before, after=after, spanish_before=before, spanish_after=after)
            found[wording] = AllowedPhrases(forms, orders, style=replace(some, keyword="".join(keyword)))
    return found


def _has(concept: Concept, wording: Wording, phrase: str) -> bool:
    """Whether a style's phrase is of this class; a phrase without any of the concept's terms counts as its name."""
    if wording == "other_language":
        return True
    kind = wording_of(concept, phrase) if concept.term_in(phrase) else "explicit"
    return kind == ("explicit" if wording == "unseen_form" else wording)


def _selected(concept: Concept, split: Split, wording: Wording, phrases: Sequence[str]) -> tuple[str, ...]:
    """Which ``phrases`` ``split`` may use for ``wording``; evaluation falls back on training's if none is unseen."""
    if wording == "other_language":
        return () if split == "train" else _share(split, phrases)
    seen = tuple(phrase for phrase in phrases if concept.unseen_in(phrase) is None)
    if split == "train":
        return () if wording == "unseen_form" else seen
    if wording in ("explicit", "unseen_form"):
        return seen
    unseen = [phrase for term in concept.unseen_terms for phrase in phrases if concept.unseen_in(phrase) == term]
    return _share(split, unseen) or seen


def _word_orders(split: Split, wording: Wording) -> tuple[grammar.Forms, tuple[str, ...]]:
    if wording != "unseen_form":
        return "train", tuple(grammar.forms("train", spanish=wording == "other_language"))
    return "held-out", _share(split, tuple(grammar.forms("held-out")))


def _share(split: Split, options: Sequence[T]) -> tuple[T, ...]:
    """All ``options`` for test, the first half (rounded up) for validation."""
    return tuple(options[: -(-len(options) // 2)] if split == "validation" else options)


def _orders(forms: grammar.Forms) -> Mapping[str, str]:
    return {**grammar.forms(forms), **grammar.forms(forms, spanish=True)}
