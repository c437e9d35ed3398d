"""Which drafts are pairs: the target names the concept, the surrogate does not, the rest is the same, nothing twice.

A draft that fails stays as a reject, ``malformed`` or ``duplicate``, with the reason in words.
"""

import re
import unicodedata
from difflib import SequenceMatcher

from ecgvf.concepts import Concept
from ecgvf.pairs.parsing import Draft
from ecgvf.records import PromptPair

MOST_CHANGED = 0.25
"""Share of the words outside the replaced ones that may differ: 1 − 2·matches / (words of both), articles left out."""

NEAR = 0.8
"""Two prompts are near duplicates where their word sets, articles left out, have at least this Jaccard similarity."""

_ARTICLES = frozenset({"a", "an", "the", "un", "una", "el", "la", "los", "las"})


def fault(concept: Concept, draft: Draft) -> str | None:
    """What is wrong with a draft, in words, or None."""
    if not names(draft.target, draft.target_term):
        return f"the target does not contain {draft.target_term!r}, said to mean the concept"
    if draft.surrogate is None or draft.surrogate_term is None:
        return None
    if named := concept.term_in(draft.surrogate):
        return f"the surrogate names the concept ({named!r})"
    if names(draft.surrogate, draft.target_term):
        return f"the surrogate still contains {draft.target_term!r}"
    if draft.surrogate_term and not names(draft.surrogate, draft.surrogate_term):
        return f"the surrogate does not contain {draft.surrogate_term!r}, said to be the replacement"
    changed = share_changed(draft)
    if changed > MOST_CHANGED:
        return f"{changed:.0%} of the other words changed, at most {MOST_CHANGED:.0%} may"
    return None


def target_term(concept: Concept, draft: Draft) -> str:
    """The concept's term that the target names; where it names none, the draft's own words: an implicit target."""
    return concept.term_in(draft.target) or draft.target_term


def implicit(concept: Concept, pair: PromptPair) -> bool:
    """Whether the target means the concept without one of its terms: described, misspelt, in another language."""
    return concept.term_in(pair.target) is None


def names(text: str, words: str) -> bool:
    """Whether ``text`` holds ``words`` as whole words, case and a plural "s" or "es" ignored."""
    return _found(text, words) is not None


def share_changed(draft: Draft) -> float:
    """Share in [0, 1] of the words outside the replaced ones that differ between target and surrogate."""
    target = _words(_without(draft.target, draft.target_term))
    surrogate = _words(_without(draft.surrogate or "", draft.surrogate_term or ""))
    return 1 - SequenceMatcher(None, target, surrogate, autojunk=False).ratio()


class Seen:
    """Prompts accepted so far, to tell a near duplicate. Exact, and fast enough for thousands."""

    def __init__(self) -> None:
        self._prompts: list[tuple[frozenset[str], str]] = []
        self._holding: dict[str, list[int]] = {}

    def add(self, prompt: str) -> None:
        """Remember a prompt."""
        words = frozenset(_words(prompt))
        for word in words:
            self._holding.setdefault(word, []).append(len(self._prompts))
        self._prompts.append((words, prompt))

    def like(self, prompt: str) -> str | None:
        """The first remembered prompt of which ``prompt`` is a near duplicate, or None."""
        words = frozenset(_words(prompt))
        shared: dict[int, int] = {}
        for word in words:
            for index in self._holding.get(word, ()):
                shared[index] = shared.get(index, 0) + 1
        for index in sorted(shared):
            other, text = self._prompts[index]
            if shared[index] >= NEAR * (len(words) + len(other) - shared[index]):
                return text
        return None


def near(one: str, other: str) -> bool:
    """Whether two prompts are near duplicates."""
    seen = Seen()
    seen.add(one)
    return seen.like(other) is not None


def _found(text: str, words: str) -> re.Match[str] | None:
    parts = [re.escape(part) for part in re.split(r"[\s_-]+", _folded(words)) if part]
    if not parts:
        return None
    return re.search(r"(?<!\w)" + r"[\s_-]+".join(parts) + r"(e?s)?(?!\w)", _folded(text))


def _without(text: str, words: str) -> str:
    found = _found(text, words)
    folded = _folded(text)
    return folded if found is None else f"{folded[: found.start()]} {folded[found.end() :]}"


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", _folded(text)) if word not in _ARTICLES]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
