"""Wordings: how a target prompt refers to the concept.

Evaluation uses words and forms of sentence that no training pair has, to measure whether the concept itself is erased
and not only a few of its words.
"""

import re

from ecgvf.core.concepts import Concept, folded, inflected
from ecgvf.core.records import Wording
from ecgvf.pairs.checks import contains


def wording_of(concept: Concept, target: str, stated: Wording | None = None) -> Wording:
    """The wording of a target prompt. ``stated`` is what its writer says, and counts unless the terms contradict it.

    The concept's terms tell a name, a synonym and a description apart; only the writer knows whether it is a
    misspelling, another language or an unseen form.
    """
    if concept.term_in(target) is None:
        found: Wording = "implicit"
    else:
        found = "explicit" if _named(concept, target) else "synonym"
    if stated in ("explicit", "synonym", "implicit") or (stated == "misspelled" and found == "explicit"):
        return found
    return stated or found


def _named(concept: Concept, target: str) -> bool:
    """Whether ``target`` contains the concept's name (its first term) other than inside a longer term."""
    name, *others = concept.terms
    text = folded(target)
    longer = [term for term in others if contains(term, name) and not contains(name, term)]
    for term in sorted(map(folded, longer), key=len, reverse=True):
        text = re.sub(inflected(term), " ", text)
    return contains(text, name)
