"""Wordings: in which way a target prompt means the concept.

Evaluation asks for a concept in words and sentence forms that no training pair has: what is erased should be the
concept, and not a few of its words.
"""

from ecgvf.core.concepts import Concept, folded
from ecgvf.core.records import Wording
from ecgvf.pairs.checks import contains


def wording_of(concept: Concept, target: str, stated: Wording | None = None) -> Wording:
    """The class of a target prompt. ``stated`` is the writer's, and counts unless the concept's terms contradict it.

    Terms alone tell a name, a synonym and a description apart; only the writer knows a misspelling, another language or
    an unseen form.
    """
    if concept.term_in(target) is None:
        found: Wording = "implicit"
    else:
        found = "explicit" if _named(concept, target) else "synonym"
    if stated in ("explicit", "synonym", "implicit") or (stated == "misspelled" and found == "explicit"):
        return found
    return stated or found


def _named(concept: Concept, target: str) -> bool:
    """Whether the concept's name, its first term, stands in ``target`` outside a longer term that contains it."""
    name, *others = map(folded, concept.terms)
    text = folded(target)
    for longer in sorted((term for term in others if contains(term, name)), key=len, reverse=True):
        text = text.replace(longer, " ")
    return contains(text, name)
