"""Which sky, ground, companion and style a prompt of nano's world asks for, by the words of ``world.yaml``."""

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

from ecgvf.world.grammar import PLAIN, WORDINGS, load_world, without_article


def find_attributes(prompt: str) -> dict[str, str]:
    """Attribute ("sky", "ground", "companion", "style") → its name, for the attributes that the prompt asks for.

    Phrases and keywords, English and Spanish, are found as whole words in any case. Of the phrases that begin at one
    word the longest counts: "a man made of snow" asks for a snowman and no snow, and words for a thing ("a water bird
    that quacks") ask for no attribute. A prompt that asks for two skies asks for none; the plain style is never asked
    for, because a prompt without a style says no less.
    """
    pattern, meanings = _phrases()
    found: defaultdict[str, set[str]] = defaultdict(set)
    for match in pattern.finditer(" ".join(prompt.split())):
        for attribute, name in meanings[match.group().casefold()]:
            found[attribute].add(name)
    return {attribute: names.pop() for attribute, names in found.items() if len(names) == 1}


@cache
def _phrases() -> tuple[re.Pattern[str], dict[str, set[tuple[str, str]]]]:
    """A pattern of every phrase, longest first, and phrase → attributes with their names: none for a thing's words."""
    meanings: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for attribute, name, phrase in _attribute_phrases():
        meanings[without_article(phrase).casefold()].add((attribute, name))
    for thing in load_world().things.values():
        for wording in WORDINGS:
            for phrase in thing.noun_phrases(wording):
                meanings.setdefault(without_article(phrase).casefold(), set())
    longest_first = sorted(meanings, key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(map(re.escape, longest_first))})\b", re.IGNORECASE), dict(meanings)


def _attribute_phrases() -> Iterator[tuple[str, str, str]]:
    """(attribute, name, phrase) for every phrase and keyword of an attribute."""
    world = load_world()
    families = {"sky": world.skies, "ground": world.grounds, "companion": world.companions}
    for attribute, family in families.items():
        for entry in family.values():
            for phrase in (*entry.english, entry.keyword, *entry.spanish):
                yield attribute, entry.name, phrase
    for style in world.styles.values():
        if style.name != PLAIN:
            for phrase in style.phrases:
                yield "style", style.name, phrase
