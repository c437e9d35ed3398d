"""The interface of a writer that runs in this process: a request in, the text of an answer out.

LLMs are called through ``ecgvf.llm`` instead; the text of both is read by ``read_answer``.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

from ecgvf.core.concepts import Concept
from ecgvf.core.files import canonical_json
from ecgvf.core.records import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request for ``count`` pairs of a split and a concept."""

    concept: Concept
    split: Split
    count: int
    iteration: int
    """Counts the requests of one split from 0."""
    seed: int
    build_round: int = 0
    """The round of ``ecgvf build``; equal requests of two rounds get different answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where an answer comes from: columns of every record made from it."""

    writer: str
    split: Split
    iteration: int
    call_id: str
    model_asked: str
    model_answered: str
    template: str
    template_hash: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request, not parsed yet."""

    text: str
    provenance: Provenance


class Writer(Protocol):
    """Writes pairs for training and for evaluation."""

    @property
    def name(self) -> str:
        """As ``--writers`` names it."""

    def settings(self) -> dict[str, Any]:
        """What decides this writer's answers; part of the set's fingerprint."""

    def check(self, concept: Concept) -> None:
        """Raise ``WriterError`` if this writer cannot write about ``concept``."""

    def write(self, request: Request) -> Answer:
        """The answer to one request. Raises ``WriterError``."""


def call_id(writer: Writer, request: Request) -> str:
    """16 hex digits: a hash of the request, so that equal requests have equal ids."""
    content = {
        "writer": writer.name,
        "settings": writer.settings(),
        "concept": request.concept.model_dump(mode="json"),
        "split": request.split,
        "count": request.count,
        "iteration": request.iteration,
        "seed": request.seed,
    }
    if request.build_round:
        content["round"] = request.build_round
    return hashlib.sha256(canonical_json(content)).hexdigest()[:16]
