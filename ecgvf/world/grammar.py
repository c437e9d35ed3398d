"""The grammar of nano's world: writes sentences that describe a scene.

The words are in ``data/nano/world.yaml``, the word orders here. Janus-nano was trained on these sentences, and the
offline writer writes its pairs with them.
"""

import hashlib
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from ecgvf.core import strict_yaml
from ecgvf.core.paths import data_dir

Forms = Literal["train", "held-out"]
ThingWording = Literal["name", "synonym", "implicit", "misspelt", "spanish"]

T = TypeVar("T")

PLAIN = "plain"

WORDINGS: Mapping[ThingWording, float] = {
    "name": 0.45,
    "synonym": 0.25,
    "implicit": 0.12,
    "misspelt": 0.08,
    "spanish": 0.10,
}
"""Wordings and how often each is used if the caller does not fix one."""

HELD_OUT_SHARE = 0.05
"""Share of the combinations of thing, sky, ground, companion and style held out from the language model's training."""

COMPANION_SHARE, PLAIN_SHARE = 0.3, 0.5
"""Shares of the prompts with a companion, and without a style."""

HELD_OUT_FORMS_SHARE = 0.25
"""Share of the prompts of retained concepts in word orders that neither a pair nor nano's training uses."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing of the world and its words."""

    name: str
    kind: str
    drawings: Mapping[str, str]
    """Designer → name of the drawing in its emoji set."""
    terms: tuple[str, ...]
    """The name and its synonyms; no term belongs to two things."""
    implicit: tuple[str, ...]
    """Descriptions, with article, that contain no term of any thing."""
    spanish: tuple[str, ...]
    """Nouns with article."""
    misspelt: tuple[str, ...]

    def noun_phrases(self, wording: ThingWording) -> tuple[str, ...]:
        """Noun phrases, with article, for this thing in ``wording``."""
        match wording:
            case "name":
                return (with_article(self.terms[0]),)
            case "synonym":
                return tuple(with_article(term) for term in self.terms[1:])
            case "misspelt":
                return tuple(with_article(term) for term in self.misspelt)
            case "implicit":
                return self.implicit
            case "spanish":
                return self.spanish


@dataclass(frozen=True, slots=True)
class Phrases:
    """Phrases for a sky, a ground or a companion, and a keyword for terse prompts."""

    name: str
    english: tuple[str, ...]
    keyword: str
    spanish: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Style:
    """Phrases for a style: ``before`` precedes the thing ("a watercolour of"), ``after`` follows it."""

    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    spanish_before: tuple[str, ...]
    spanish_after: tuple[str, ...]
    keyword: str = ""

    @property
    def phrases(self) -> tuple[str, ...]:
        """All words for it; the keyword, which comes first, may be empty."""
        return self.keyword, *self.before, *self.after, *self.spanish_before, *self.spanish_after

    def phrase_in(self, prompt: str) -> str | None:
        """The longest of its phrases that ``prompt`` has, in any case; None if it has none."""
        found = (phrase for phrase in self.phrases if phrase.casefold() in prompt.casefold())
        return max(found, key=len, default="") or None


@dataclass(frozen=True, slots=True)
class World:
    """Everything that an image can show, by name, in the order of ``world.yaml``."""

    things: Mapping[str, Thing]
    skies: Mapping[str, Phrases]
    grounds: Mapping[str, Phrases]
    companions: Mapping[str, Phrases]
    styles: Mapping[str, Style]


@dataclass(frozen=True, slots=True)
class Description:
    """The content of a sentence. None is not mentioned; a style other than plain always is."""

    thing: str
    sky: str | None = None
    ground: str | None = None
    companion: str | None = None
    style: str = PLAIN


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and the choices behind it."""

    text: str
    term: str
    """The words for the thing, without article."""
    form: str
    """Name of the word order."""
    wording: ThingWording
    style: str
    """The words for the style, "" if there are none."""


@cache
def load_world() -> World:
    """The world of ``data/nano/world.yaml``."""
    content: dict[str, Any] = strict_yaml.load(_world_yaml().decode())
    designers = content.pop("designers")
    for thing in content["things"].values():
        undrawn = thing.get("except", ())
        thing["drawings"] = {designer: thing["drawn"] for designer in designers if designer not in undrawn}
    for section in content.values():
        for name, entry in section.items():
            entry["name"] = name
    return TypeAdapter(World).validate_python(content)


def find_things(words: Iterable[str]) -> list[str]:
    """Names of the things that ``words`` refer to, in any wording, each once; unknown words are ignored."""
    phrases = (
        (without_article(phrase), thing.name)
        for wording in WORDINGS
        for thing in load_world().things.values()
        for phrase in thing.noun_phrases(wording)
    )
    # Terms come first: a misspelling of another thing's does not replace them.
    return _find(words, dict(reversed([*phrases])))


def find_styles(words: Iterable[str]) -> list[str]:
    """Names of the styles that ``words`` refer to, in any phrase for them, each once; unknown words are ignored."""
    phrases = [
        (without_article(phrase), style.name)
        for style in load_world().styles.values()
        for phrase in (style.name, *style.phrases)
        if phrase
    ]
    return _find(words, dict(reversed(phrases)))


def _find(words: Iterable[str], names: Mapping[str, str]) -> list[str]:
    def key(word: str) -> str:
        return word.casefold().replace("-", " ")

    known = {key(word): name for word, name in names.items()}
    found = (known.get(key(without_article(word)), known.get(key(word))) for word in words)
    return list(dict.fromkeys(name for name in found if name is not None))


def fingerprint() -> str:
    """SHA-256 of the words and the word orders, as a hexadecimal string."""
    orders = [_FORMS[key] for key in sorted(_FORMS)]
    return hashlib.sha256(_world_yaml() + json.dumps(orders, sort_keys=True).encode()).hexdigest()


def _world_yaml() -> bytes:
    return (data_dir() / "nano" / "world.yaml").read_bytes()


def held_out(thing: str, sky: str, ground: str, companion: str | None, style: str) -> bool:
    """Whether this combination is held out from training. A hash decides, so that it is the same everywhere."""
    digest = hashlib.sha256(json.dumps([thing, sky, ground, companion, style]).encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64


def with_article(noun: str) -> str:
    """The noun with "a" or "an": "an inn", "a Van Gogh painting"."""
    return f"{'an' if noun[0] in 'aeiouAEIOU' else 'a'} {noun}"


def without_article(phrase: str) -> str:
    """The phrase without its leading English or Spanish article."""
    return re.sub(r"^(an?|the|una?) ", "", phrase)


def describe(
    thing: str,
    sky: str,
    ground: str,
    companion: str | None,
    style: str,
    rng: random.Random,
    *,
    everything: bool = False,
) -> Description:
    """A random description of a scene: sky and ground are mentioned about half of the time, or with ``everything``."""
    complete = everything or rng.random() < 0.15
    return Description(
        thing=thing,
        sky=sky if complete or rng.random() < 0.5 else None,
        ground=ground if complete or rng.random() < 0.45 else None,
        companion=companion,
        style=style,
    )


# Word orders. A part in [brackets] is omitted if its slot is empty. Slots: thing (with article), bare (without), sky,
# ground, companion ("a balloon"), before ("a watercolour of"), after ("in watercolour"), and for terse prompts the
# keywords k_sky, k_ground, k_companion, k_style. Every order has a slot for each attribute. One that ends in "." or "?"
# is a full sentence. `before` is always filled for a style other than plain.

_FORMS: dict[tuple[Forms, bool], dict[str, str]] = {
    ("train", False): {
        # terse
        "bare": "{bare}[ and {companion}][ {ground}][ {sky}][ {after}]",
        "bare-commas": "{bare}[, {companion}][, {ground}][, {sky}][, {after}]",
        "keywords": "{bare}[, {k_sky}][, {k_ground}][, {k_companion}][, {k_style}]",
        "keywords-ground": "{bare}[, {k_companion}][, {k_ground}][, {k_sky}][, {k_style}]",
        "keywords-style": "[{k_style}, ]{bare}[, {k_ground}][, {k_sky}][, {k_companion}]",
        # noun phrases, style last
        "phrase": "{thing}[ {ground}][ {sky}][ with {companion} beside it][ {after}]",
        "phrase-sky": "{thing}[ {sky}][ {ground}][ next to {companion}][, {after}]",
        "phrase-companion": "{thing}[ with {companion}][ {ground}][ {sky}][, {after}]",
        "phrase-next-to": "{thing}[ next to {companion}][ {sky}][ {ground}][ {after}]",
        "phrase-and": "{thing}[ and {companion}][ {ground}][, {sky}][, {after}]",
        "phrase-commas": "{thing}[, {ground}][, {sky}][, {companion} nearby][, {after}]",
        # noun phrases, style first
        "style-of": "[{before} ]{thing}[ {ground}][ {sky}][ with {companion} beside it]",
        "style-of-sky": "[{before} ]{thing}[ {sky}][ next to {companion}][ {ground}]",
        "style-of-and": "[{before} ]{thing}[ and {companion}][ {ground}][ {sky}]",
        "style-of-commas": "[{before} ]{thing}[, {sky}][, {ground}][, {companion} close by]",
        "style-colon": "[{k_style}: ]{thing}[ {ground}][ with {companion}][ {sky}]",
        # sentences
        "there-is": "there is {thing}[ {ground}][ {sky}][ with {companion} beside it][, {after}].",
        "there-is-next": "there is {thing}[ next to {companion}][ {ground}][ {sky}][, {after}].",
        "sky-first": "[{sky}, ]there is {thing}[ {ground}][ with {companion} nearby][, {after}].",
        "ground-first": "[{ground} ]there is {thing}[ next to {companion}][ {sky}][, {after}].",
        "seen": "{thing} can be seen[ {ground}][ {sky}][ beside {companion}][, {after}].",
        "this-is": "this is [{before} ]{thing}[ {sky}][ {ground}][, with {companion} at its side].",
        "shows": "the picture shows {thing}[ {ground}][ and {companion}][ {sky}][, {after}].",
        "we-see": "we see {thing}[ and {companion}][ {sky}][ {ground}][, {after}].",
        "one-sees": "[{sky} ]one can see {thing}[ and {companion}][ {ground}][, {after}].",
        "ground-sky-first": "[{ground}, ][{sky}, ]{thing}[ with {companion} beside it][, {after}].",
        # requests
        "draw": "draw {thing}[ {ground}][ {sky}][ with {companion}][, {after}].",
        "draw-style": "draw [{before} ]{thing}[ next to {companion}][ {ground}][ {sky}].",
        "show-me": "show me [{before} ]{thing}[ {sky}][ {ground}][ and {companion}].",
        "please": "please make [{before} ]{thing}[ with {companion} beside it][ {sky}][ {ground}].",
    },
    ("held-out", False): {
        "companion-first": "[beside {companion}, ]{thing}[ {sky}][ {ground}][ {after}]",
        "style-leads": "[{after}, ]{thing}[ {sky}][ with {companion} close by][ {ground}]",
        "sky-ground-first": "[{sky}][ {ground}] we find {thing}[ beside {companion}][, {after}].",
        "ground-is-style": "[{ground} is ]{thing}[ {after}][, {sky}][, with {companion} nearby].",
        "keywords-reversed": "[{k_sky}, ][{k_style}, ][{k_companion}, ]{bare}[, {k_ground}]",
        "can-you": "can you draw {thing}[ {after}][, {sky}][, {ground}][, next to {companion}]?",
        "what-stands": "what one sees[ {sky}] is [{before} ]{thing}[ {ground}][ with {companion} at its side].",
    },
    ("train", True): {
        "es-phrase": "{thing}[ {ground}][ {sky}][ junto a {companion}][, {after}]",
        "es-with": "{thing}[ con {companion}][ {sky}][ {ground}][, {after}]",
        "es-style-of": "[{before} ]{thing}[ {ground}][ {sky}][ con {companion} al lado]",
        "es-there-is": "hay {thing}[ {ground}][ junto a {companion}][ {sky}][, {after}].",
        "es-sky-first": "[{sky} ]hay {thing}[ y {companion}][ {ground}][, {after}].",
        "es-draw": "dibuja {thing}[ {ground}][ y {companion}][ {sky}][, {after}].",
    },
    ("held-out", True): {
        "es-ground-first": "[{ground}][ {sky}] se ve {thing}[ con {companion}][, {after}].",
        "es-companion-first": "[junto a {companion}, ]{thing}[ {sky}][ {ground}][, {after}].",
    },
}
"""Whether they are held out, and whether they are Spanish → name → word order."""

_PART = re.compile(r"\[(?P<optional>[^\]]*)\]|\{(?P<slot>\w+)\}|(?P<text>[^\[{]+)")
_SLOT = re.compile(r"\{(\w+)\}")


def forms(which: Forms, *, spanish: bool = False) -> Mapping[str, str]:
    """The word orders of ``which``, by name."""
    return _FORMS[which, spanish]


def sentence(
    description: Description,
    rng: random.Random,
    *,
    forms: Forms = "train",
    wording: ThingWording | Literal["any"] = "any",
    nouns: Sequence[str] | None = None,
    style: Style | None = None,
    orders: Sequence[str] | None = None,
) -> Sentence:
    """A random sentence that mentions everything in the description, and nothing else.

    ``nouns`` (noun phrases, with article), ``style`` (with some of its phrases) and ``orders`` (names of word orders)
    stand in for everything that the world has of each.

    It consumes the same number of values from ``rng`` for every description: the same state with another thing or style
    gives the same sentence except for the words that differ, which makes a pair.
    """
    if wording == "any":
        wording = rng.choices(list(WORDINGS), list(WORDINGS.values()))[0]
    known = _FORMS[forms, wording == "spanish"]
    form, order = _pick([(name, known[name]) for name in (orders or known)], rng)
    world = load_world()
    nouns = nouns or world.things[description.thing].noun_phrases(wording)
    slots = _slots(description, nouns, style or world.styles[description.style], wording == "spanish", rng)
    text = _vary_typing(_fill(order, slots), rng)
    return Sentence(text, slots["bare"], form, wording, slots.get(style_slot(order), ""))


def style_slot(order: str) -> str:
    """The slot of a word order that holds the style; "" if there is none."""
    return next((slot for slot in ("before", "after", "k_style") if f"{{{slot}}}" in order), "")


def _slots(
    description: Description, nouns: Sequence[str], style: Style, spanish: bool, rng: random.Random
) -> dict[str, str]:
    """Slot → phrase, "" if the slot stays empty."""
    world = load_world()
    thing = _pick(nouns, rng)
    before = _pick((style.spanish_before if spanish else style.before) or ("",), rng)
    after = _pick((style.spanish_after if spanish else style.after) or ("",), rng)
    use_before = rng.random() < 0.5 or style.name != PLAIN  # "a picture of" is optional
    slots = {
        "thing": thing,
        "bare": without_article(thing),
        "before": before if use_before else "",
        "after": after,
        "k_style": style.keyword,
    }
    families = {"sky": world.skies, "ground": world.grounds, "companion": world.companions}
    for slot, family in families.items():
        name: str | None = getattr(description, slot)
        phrases = family[name] if name is not None else None
        options = (phrases.spanish if spanish else phrases.english) if phrases else ("",)
        slots[slot] = _pick(options, rng)
        slots[f"k_{slot}"] = phrases.keyword if phrases else ""
    return slots


def _pick(options: Sequence[T], rng: random.Random) -> T:
    """A random option for exactly one value from ``rng`` (``rng.choice`` may consume several)."""
    return options[int(rng.random() * len(options))]


def _fill(order: str, slots: Mapping[str, str]) -> str:
    """The word order with its slots replaced by their phrases."""

    def part(match: re.Match[str]) -> str:
        optional = match["optional"]
        if optional is None:
            return slots[match["slot"]] if match["slot"] else match["text"]
        if all(slots[slot] for slot in _SLOT.findall(optional)):
            return optional.format_map(slots)
        return ""

    return _PART.sub(part, order).strip()


def _vary_typing(text: str, rng: random.Random) -> str:
    """Vary capital and full stop as people type them: most sentences have both, most phrases at most the capital."""
    capital, stop, lower = (rng.random() for _ in range(3))
    is_sentence = text[-1] in ".?"
    if capital < (0.85 if is_sentence else 0.4):
        text = text[0].upper() + text[1:]
    if is_sentence and stop < 0.25:
        text = text[:-1]
    elif not is_sentence and stop < 0.12:
        text += "."
    return text.lower() if lower < 0.06 else text
