"""Who writes the prompts. One file per writer; each turns a request into an answer, which is text.

The answer of every writer is read by ``ecgvf.pairs.parsing``, the offline writer's too: one way in.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Protocol

from ecgvf.concepts import Concept
from ecgvf.records import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``count`` pairs (split ``train``) or test prompts (``test``) for a concept; ``iteration`` counts from 0."""

    concept: Concept
    split: Split
    count: int
    iteration: int
    seed: int
    round: int = 0
    """Another round asks the same again, and must not get the same answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back, as it came, and from whom."""

    call_id: str
    text: str
    model_asked: str
    model_answered: str
    template: str
    template_hash: str


class Writer(Protocol):
    """What writes pairs."""

    name: str

    def settings(self) -> dict[str, Any]:
        """What about this writer decides its answers; part of the set's fingerprint."""

    def check(self, concept: Concept) -> None:
        """Raise ``WriterError`` where this writer cannot write about ``concept``, before anything is written."""

    def write(self, request: Request) -> Answer:
        """The answer to one request. Raises ``WriterError``."""


def call_id(writer: Writer, request: Request) -> str:
    """16 hex digits: the request's hash, the same whenever the same thing is asked."""
    asked = {
        "writer": writer.name,
        "settings": writer.settings(),
        "concept": request.concept.model_dump(mode="json"),
        "split": request.split,
        "count": request.count,
        "iteration": request.iteration,
        "seed": request.seed,
        **({"round": request.round} if request.round else {}),
    }
    canonical = json.dumps(asked, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
