"""A request to the writer that runs in this process, and the text of its answer.

LLMs are called through ``ecgvf.llm`` instead. ``answers.read_answer`` reads the text of both.
"""

from dataclasses import dataclass

from ecgvf.core.concepts import Concept
from ecgvf.core.records import Split

IMPORT = "import"
"""The writer of every imported record."""


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
