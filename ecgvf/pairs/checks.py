"""Checks of a draft: the target names the concept, the surrogate does not, the rest is equal, and nothing is repeated.

A draft that fails stays as a reject, ``malformed`` or ``duplicate``, with the fault in words.
"""

import importlib.metadata
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

from ecgvf.core.concepts import Concept, Kind, SurrogateChoice, folded, inflected
from ecgvf.core.records import Split
from ecgvf.pairs import captions, parsing
from ecgvf.pairs.parsing import Draft

MAX_CHANGED: dict[Kind, float] = {"object": 0.25, "style": 0.25, "nudity": 0.5}
"""Maximum share of changed words, not counting the replaced ones and articles: 1 − 2·matches / (words of both prompts).

Nudity gets more, since clothes take many words: the paper's released pairs change about half."""

MAX_EXTRA_WORDS: dict[Kind, int] = {"object": 3, "style": 6, "nudity": 8}
"""Words that a stated term may add to the concept's own ("church with a steeple"). If it adds more, only the concept's
own words count as replaced, and the others as changed: otherwise an answer could state its whole prompt as the term.
A stated replacement may be this much longer than the term; further words count as changed."""

MAX_IMPLICIT_WORDS = 12
"""Words that may mean the concept in an implicit pair, whose target contains no term of the concept."""

MAX_SENTENCES = 3

MIN_SIMILARITY = 0.8
"""Near duplicates are prompts whose word sets, without articles, have at least this Jaccard similarity."""

MIN_WORDS = 4
"""Shorter prompts are not checked for their language: "a chapel" could be many."""

MIN_MARGIN = 20.0
"""How much likelier another language must be than the requested one, as a difference of log-probabilities (nats)."""

_ARTICLES = frozenset({"a", "an", "the", "un", "una", "el", "la", "los", "las"})

_OTHER_ARTICLES = frozenset(
    article
    for articles in (
        "der die das den dem des ein eine einen einem einer eines am ans",
        "le les l une du d de au aux à",
        "il lo i gli uno di del dello della dei degli delle dell al allo alla ai agli alle all dal dalla dall",
        "o os as um uma uns umas do da dos das ao aos às",
        "de het een",
        "unos unas del al",
    )
    for article in articles.split()
)
"""Articles of German, French, Italian, Portuguese, Dutch and Spanish, with the prepositions "of" and "to" (in German
"at"), which merge with them: "le toit du château" stands for "le toit de l'église"."""

_MERGED = {
    merged: preposition
    for preposition, forms in {
        "in": "im ins nel nello nella nei negli nelle nell",
        "zu": "zum zur",
        "bei": "beim",
        "von": "vom",
        "su": "sul sullo sulla sui sugli sulle sull",
        "em": "no na nos nas num numa",
        "por": "pelo pela pelos pelas",
    }.items()
    for merged in forms.split()
}
"""Other prepositions that merge with an article → without it."""

_ABBREVIATION = re.compile(r"\b(?:[A-Z]|St|Mr|Mrs|Ms|Dr|Mt|Ft|No|Jr|Sr|vs|ca|approx|e\.g|i\.e|etc)\.(?=\s)")
"""A full stop that does not end a sentence."""


def offline_reader_settings(kind: Kind) -> dict[str, Any]:
    """What decides, apart from the concept, how the offline writer's answers and captions are parsed and checked: part
    of the settings of their splits."""
    bounds = {
        "most_changed": MAX_CHANGED[kind],
        "most_beside": MAX_EXTRA_WORDS[kind],
        "most_implicit": MAX_IMPLICIT_WORDS,
        "most_sentences": MAX_SENTENCES,
        "near": MIN_SIMILARITY,
    }
    return {"parser": parsing.OFFLINE_VERSION, "checks": bounds}


def llm_reader_settings(kind: Kind, split: Split) -> dict[str, Any]:
    """The same for LLMs' answers, whose language is checked, too, and which concepts retained prompts are about."""
    settings = offline_reader_settings(kind) | {
        "parser": parsing.VERSION,
        "py3langid": importlib.metadata.version("py3langid"),
    }
    return settings | {"captions": captions.file_hash()} if split == "retain" else settings


def find_fault(
    concept: Concept,
    draft: Draft,
    language: str | None = None,
    *,
    split: Split = "train",
    surrogate_choice: SurrogateChoice = "free",
) -> str | None:
    """Why a parsed draft is malformed, in words; None if it is not.

    ``language`` is the requested language (ISO 639-1; None: any); drafts of the wording ``other_language`` may be in
    any. ``surrogate_choice`` is what was requested in place of the concept. What precedes a colon is the kind of fault
    (``fault_category``). Records store the words; whoever changes what is a fault also changes ``parsing.VERSION``.
    """
    in_english = draft.wording != "other_language" and language in (None, "en")
    if draft.wording == "other_language":
        language = None
    for role, prompt in (("target", draft.target), ("surrogate", draft.surrogate)):
        if prompt is not None and not words(prompt):  # not even equal ones are near duplicates
            return f"the {role} has no word: {prompt!r}"
        if prompt is not None and count_sentences(prompt) > MAX_SENTENCES:
            return f"the {role} has too many sentences: {count_sentences(prompt)}, at most {MAX_SENTENCES} are allowed"
        if prompt is not None and language and (detected := foreign_language(prompt, language)):
            return f"the {role} is in another language: {detected!r}, expected {language!r}"
    if split == "retain":
        return _retained_fault(concept, draft)
    if not (concept.term_in(draft.target) or contains(draft.target, draft.target_term)):
        return f"the target does not contain its stated term: {draft.target_term!r}"
    if split == "train" and (unseen := concept.unseen_in(draft.target)):
        return f"the target contains a term that is kept for evaluation: {unseen!r}"
    if draft.surrogate is None:
        return None
    if fault := _pair_fault(concept, draft, draft.surrogate, draft.surrogate_term or "", in_english=in_english):
        return fault
    expected = concept.surrogate_of(draft.target, surrogate_choice)
    replaced = draft.surrogate_term if draft.wording != "other_language" else None
    if expected and replaced and not contains(draft.surrogate, expected):
        return f"the surrogate names another thing: {replaced!r}, expected {expected!r}"
    return None


def _retained_fault(concept: Concept, draft: Draft) -> str | None:
    if named := concept.term_in(draft.target) or concept.unseen_in(draft.target):
        return f"the prompt names the concept that is erased: {named!r}"
    if not captions.is_retained(concept, str(draft.retained_concept)):
        return f"the prompt is about a concept that was not requested: {draft.retained_concept!r}"
    return None


def _pair_fault(concept: Concept, draft: Draft, surrogate: str, surrogate_term: str, *, in_english: bool) -> str | None:
    own = concept.term_in(draft.target)
    max_extra = MAX_EXTRA_WORDS[concept.kind]
    if own and not (
        contains(draft.target, draft.target_term) and len(words(draft.target_term)) <= len(words(own)) + max_extra
    ):
        draft = replace(draft, target_term=own)
    replaced = len(words(draft.target_term))
    if not own and replaced > MAX_IMPLICIT_WORDS:
        return f"the stated term is too long: {replaced} words, at most {MAX_IMPLICIT_WORDS} are allowed"
    if named := concept.term_in(surrogate) or concept.unseen_in(surrogate):
        return f"the surrogate names the concept: {named!r}"
    if contains(surrogate, draft.target_term):
        return f"the surrogate still contains the term: {draft.target_term!r}"
    if neighbour := added_neighbour(concept, draft):
        return f"the surrogate names a neighbour of the concept: {neighbour!r}"
    if surrogate_term and not contains(surrogate, surrogate_term):
        return f"the surrogate does not contain its stated term: {surrogate_term!r}"
    if not surrogate_term and draft.wording != "other_language" and (added := _added_word(draft, surrogate)):
        return f"the surrogate states no term and has a word that is not in the target: {added!r}"
    excess = max(0, len(words(surrogate_term)) - replaced - max_extra)
    changed, max_changed = share_changed(draft, excess, in_english=in_english), MAX_CHANGED[concept.kind]
    if changed > max_changed:
        return f"too many other words changed: {changed:.0%}, at most {max_changed:.0%} are allowed"
    return None


def added_neighbour(concept: Concept, draft: Draft) -> str | None:
    """The first neighbour that the surrogate names and the target does not, or its term and not the target's."""
    texts = ((draft.target, draft.surrogate or ""), (draft.target_term, draft.surrogate_term or ""))
    for neighbour in concept.neighbours:
        if any(contains(new, neighbour) and not contains(old, neighbour) for old, new in texts):
            return neighbour
    return None


def _added_word(draft: Draft, surrogate: str) -> str | None:
    """The first word of ``surrogate`` that is not in the target, with or without its term; None if all are."""
    # In Chinese, the term is part of a word.
    target = Counter(words(draft.target)) | Counter(words(_without(draft.target, draft.target_term)))
    return next(iter(Counter(words(surrogate)) - target), None)


def share_changed(draft: Draft, excess: int = 0, *, in_english: bool = True) -> float:
    """Share in [0, 1] of the words that differ between target and surrogate, not counting the replaced ones.

    ``excess`` is the number of words in the replacement that count all the same. If not ``in_english``, articles of
    other languages do not count either, which change with the gender of the noun.
    """
    target = words(_without(draft.target, draft.target_term))
    surrogate = words(_without(draft.surrogate or "", draft.surrogate_term or ""))
    if not in_english:
        target, surrogate = _without_other_articles(target), _without_other_articles(surrogate)
    return 1 - SequenceMatcher(None, target, surrogate + [""] * excess, autojunk=False).ratio()


def _without_other_articles(found: Sequence[str]) -> list[str]:
    return [_MERGED.get(word, word) for word in found if word not in _OTHER_ARTICLES]


def is_copied(draft: Draft, examples: Sequence[Draft]) -> bool:
    """Whether a draft repeats one of the ``examples`` in its request: a near duplicate with the example's own term."""
    return any(
        are_near_duplicates(draft.target, example.target) and contains(draft.target, example.target_term)
        for example in examples
    )


def foreign_language(text: str, expected: str) -> str | None:
    """The language (ISO 639-1) of ``text`` if it clearly is not ``expected``, else None.

    Detection is by py3langid (https://github.com/adbar/py3langid), a naive Bayes classifier over byte n-grams. In text
    without spaces (Chinese, Japanese), two characters count as a word.
    """
    if max(len(text.split()), sum(ord(character) > 0x2E7F for character in text) // 2) < MIN_WORDS:
        return None
    scores = _language_scores(text)
    best = next(iter(scores))
    return best if expected in scores and scores[best] - scores[expected] >= MIN_MARGIN else None


@lru_cache(maxsize=50_000)
def _language_scores(text: str) -> dict[str, float]:
    """Language → its log-probability, the likeliest first."""
    import py3langid

    return {str(language): float(score) for language, score in py3langid.rank(text)}


def count_sentences(prompt: str) -> int:
    """Sentences of a prompt, at least 1."""
    text = _ABBREVIATION.sub(" ", prompt)
    return max(1, sum(bool(part.strip()) for part in re.split(r"[.!?]+(?=\s|$)|[。！？]+", text)))


def contains(text: str, phrase: str) -> bool:
    """Whether ``text`` contains ``phrase`` as whole words, plurals included, case ignored."""
    return _match(text, phrase) is not None


def words(text: str) -> list[str]:
    """The words of a text, case-folded, without articles."""
    return [word for word in re.findall(r"\w+", folded(text)) if word not in _ARTICLES]


class PromptIndex:
    """Prompts indexed by word, to find near duplicates: exact, and fast enough for tens of thousands."""

    def __init__(self, prompts: Iterable[str] = ()) -> None:
        self._prompts: list[tuple[str, frozenset[str]]] = []
        self._by_word: dict[str, list[int]] = {}
        for prompt in prompts:
            self.add(prompt)

    def add(self, prompt: str) -> None:
        """Add a prompt."""
        vocabulary = frozenset(words(prompt))
        for word in vocabulary:
            self._by_word.setdefault(word, []).append(len(self._prompts))
        self._prompts.append((prompt, vocabulary))

    def near_duplicate(self, prompt: str) -> str | None:
        """The first prompt added of which ``prompt`` is a near duplicate, or None."""
        vocabulary = frozenset(words(prompt))
        # A near duplicate lacks at most this many of the prompt's words. So it has one of the rarest, if these are one
        # more, and only the few prompts that have one are compared.
        lacking = len(vocabulary) - math.ceil(MIN_SIMILARITY * len(vocabulary))
        prompts_with = sorted((self._by_word.get(word, []) for word in vocabulary), key=len)
        for index in sorted(set().union(*prompts_with[: lacking + 1])):
            earlier, earlier_vocabulary = self._prompts[index]
            shared = len(vocabulary & earlier_vocabulary)
            if shared >= MIN_SIMILARITY * (len(vocabulary) + len(earlier_vocabulary) - shared):
                return earlier
        return None


def are_near_duplicates(first: str, second: str) -> bool:
    """Whether two prompts are near duplicates of each other."""
    return PromptIndex([first]).near_duplicate(second) is not None


def _match(text: str, phrase: str) -> re.Match[str] | None:
    return re.search(inflected(folded(phrase)), folded(text))


def _without(text: str, phrase: str) -> str:
    """``text``, case-folded, without the first occurrence of ``phrase``."""
    match, text = _match(text, phrase), folded(text)
    return text if match is None else f"{text[: match.start()]} {text[match.end() :]}"
