"""The interface of a writer that runs in this process: it gets a request and returns the text of an answer.

LLMs are called through ``ecgvf.llm`` instead. ``answers.read_answer`` reads the text of both.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from ecgvf.core.concepts import Concept
from ecgvf.core.files import content_hash
from ecgvf.core.records import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request for ``count`` pairs of one split of a concept."""

    concept: Concept
    split: Split
    count: int
    iteration: int
    """Counts the requests of one split from 0."""
    seed: int
    build_round: int = 0
    """The round of ``ecgvf build``: the same request in another round gets another answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where an answer comes from; these are columns of each record made from it."""

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
        """Its name in ``--writers`` and in records."""

    def settings(self) -> dict[str, Any]:
        """What decides this writer's answers; part of the set's fingerprint."""

    def check(self, concept: Concept) -> None:
        """Raise ``WriterError`` if this writer cannot write about ``concept``."""

    def write(self, request: Request) -> Answer:
        """The answer to one request. Raises ``WriterError``."""


def call_id(writer: Writer, request: Request) -> str:
    """16 hex digits: a hash of the request and the writer's settings."""
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
    return content_hash(content)
