"""Which drafts are pairs: the target names the concept, the surrogate does not, the rest is the same, nothing twice.

A draft that fails stays as a reject, ``malformed`` or ``duplicate``, with the reason in words.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Any

from ecgvf.core.concepts import Concept, Kind, folded, inflected
from ecgvf.pairs.language import foreign
from ecgvf.pairs.parsing import Draft

MOST_CHANGED: dict[Kind, float] = {"object": 0.25, "style": 0.25, "nudity": 0.5}
"""Share of the words outside the replaced ones that may differ: 1 − 2·matches / (words of both), articles left out.

Clothing takes more words than its absence: the paper's released pairs for nudity change about half of theirs."""

MOST_BESIDE: dict[Kind, int] = {"object": 3, "style": 6, "nudity": 8}
"""Words that a stated term may have beside the concept's own ("church with a steeple"). Where it has more, the
concept's own words are what was replaced, and the others count as changed: or an answer could call its whole prompt
the term. Of a stated replacement, the words beyond these and the number of the replaced ones count as changed too."""

MOST_IMPLICIT = 12
"""Words that may mean the concept in an implicit pair, whose target has no term of its own to go by."""

MOST_SENTENCES = 3
"""A prompt is one sentence to three."""

NEAR = 0.8
"""Two prompts are near duplicates where their word sets, articles left out, have at least this Jaccard similarity."""

_ARTICLES = frozenset({"a", "an", "the", "un", "una", "el", "la", "los", "las"})


def fault(concept: Concept, draft: Draft, language: str | None = None) -> str | None:
    """What is wrong with a draft, in words, or None. ``language`` (ISO 639-1) is the one asked for; None: any."""
    for role, prompt in (("target", draft.target), ("surrogate", draft.surrogate)):
        if prompt is not None and sentences(prompt) > MOST_SENTENCES:
            return f"the {role} has {sentences(prompt)} sentences, at most {MOST_SENTENCES} may be"
        if prompt is not None and language and (other := foreign(prompt, language)):
            return f"the {role} is in another language ({other}), asked for was {language!r}"
    if not (concept.term_in(draft.target) or names(draft.target, draft.target_term)):
        return f"the target does not contain {draft.target_term!r}, said to mean the concept"
    own = concept.term_in(draft.target)
    stated = names(draft.target, draft.target_term)
    most_beside = MOST_BESIDE[concept.kind]
    if own and not (stated and len(words(draft.target_term)) <= len(words(own)) + most_beside):
        draft = replace(draft, target_term=own)
    if draft.surrogate is None or draft.surrogate_term is None:
        return None
    replaced = len(words(draft.target_term))
    if not own and replaced > MOST_IMPLICIT:
        return f"{replaced} words are said to mean the concept, at most {MOST_IMPLICIT} may"
    if named := concept.term_in(draft.surrogate):
        return f"the surrogate names the concept ({named!r})"
    if names(draft.surrogate, draft.target_term):
        return f"the surrogate still contains {draft.target_term!r}"
    if draft.surrogate_term and not names(draft.surrogate, draft.surrogate_term):
        return f"the surrogate does not contain {draft.surrogate_term!r}, said to be the replacement"
    excess = max(0, len(words(draft.surrogate_term)) - replaced - most_beside)
    changed, most = share_changed(draft, excess), MOST_CHANGED[concept.kind]
    if changed > most:
        return f"{changed:.0%} of the other words changed, at most {most:.0%} may"
    return None


def copied(draft: Draft, examples: Sequence[Draft]) -> bool:
    """Whether a draft repeats one of the ``examples`` in its request: near it, and with the example's own term."""
    return any(near(draft.target, one.target) and names(draft.target, one.target_term) for one in examples)


def sentences(prompt: str) -> int:
    """How many sentences a prompt has; one without a full stop is one."""
    whole = _ABBREVIATED.sub(" ", prompt)
    return max(1, len([part for part in re.split(r"[.!?]+(?=\s|$)|[。！？]+", whole) if part.strip()]))


_ABBREVIATED = re.compile(r"\b(?:[A-Z]|St|Mr|Mrs|Ms|Dr|Mt|Ft|No|Jr|Sr|vs|ca|approx|e\.g|i\.e|etc)\.(?=\s)")
"""A full stop that ends a word and no sentence."""


def target_term(concept: Concept, draft: Draft) -> str:
    """The concept's term that the target names; where it names none, the draft's own words: an implicit target."""
    return concept.term_in(draft.target) or draft.target_term


def bounds(kind: Kind) -> dict[str, Any]:
    """What the checks depend on beside the concept; part of a set's settings."""
    return {
        "most_changed": MOST_CHANGED[kind],
        "most_beside": MOST_BESIDE[kind],
        "most_implicit": MOST_IMPLICIT,
        "most_sentences": MOST_SENTENCES,
        "near": NEAR,
    }


def implicit(concept: Concept, target: str) -> bool:
    """Whether a target means the concept without one of its terms: described, misspelt, in another language."""
    return concept.term_in(target) is None


def names(text: str, words: str) -> bool:
    """Whether ``text`` holds ``words`` as whole words, case and a plural "s" or "es" ignored."""
    return _found(text, words) is not None


def share_changed(draft: Draft, excess: int = 0) -> float:
    """Share in [0, 1] of the words outside the replaced ones that differ between target and surrogate (token edits).

    ``excess`` words of the replacement count as words outside it that differ.
    """
    target = words(_without(draft.target, draft.target_term))
    surrogate = words(_without(draft.surrogate or "", draft.surrogate_term or "")) + [""] * excess
    return 1 - SequenceMatcher(None, target, surrogate, autojunk=False).ratio()


class Seen:
    """Prompts accepted so far, to tell a near duplicate. Exact, and fast enough for thousands."""

    def __init__(self) -> None:
        self._prompts: list[tuple[frozenset[str], str]] = []
        self._holding: dict[str, list[int]] = {}

    def add(self, prompt: str) -> None:
        """Remember a prompt."""
        known = frozenset(words(prompt))
        for word in known:
            self._holding.setdefault(word, []).append(len(self._prompts))
        self._prompts.append((known, prompt))

    def copy(self) -> "Seen":
        """One of its own, that remembers the same."""
        other = Seen()
        other._prompts = list(self._prompts)
        other._holding = {word: list(places) for word, places in self._holding.items()}
        return other

    def like(self, prompt: str) -> str | None:
        """The first remembered prompt of which ``prompt`` is a near duplicate, or None."""
        asked = frozenset(words(prompt))
        shared: dict[int, int] = {}
        for word in asked:
            for index in self._holding.get(word, ()):
                shared[index] = shared.get(index, 0) + 1
        for index in sorted(shared):
            other, text = self._prompts[index]
            if shared[index] >= NEAR * (len(asked) + len(other) - shared[index]):
                return text
        return None


def near(one: str, other: str) -> bool:
    """Whether two prompts are near duplicates."""
    seen = Seen()
    seen.add(one)
    return seen.like(other) is not None


def _found(text: str, words: str) -> re.Match[str] | None:
    return re.search(inflected(folded(words)), folded(text))


def _without(text: str, words: str) -> str:
    found = _found(text, words)
    whole = folded(text)
    return whole if found is None else f"{whole[: found.start()]} {whole[found.end() :]}"


def words(text: str) -> list[str]:
    """The words of a text, case-folded, articles left out."""
    return [word for word in re.findall(r"\w+", folded(text)) if word not in _ARTICLES]
