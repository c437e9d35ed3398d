"""A call: one request to one LLM, with everything that decides its answer."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from ecgvf.core.files import canonical_json
from ecgvf.core.records import Split
from ecgvf.llm.registry import Sdk, Structure


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to one LLM. Its hash names it in the ledger; no key is part of it."""

    writer: str
    sdk: Sdk
    model: str
    concept: str
    split: Split
    iteration: int
    round: int
    """How many times ``--fresh`` started this writer and split over."""
    base_url: str
    """Part of the hash: another server gives another answer, whatever its model is called."""
    count: int
    """How many prompts are requested."""
    prompt: str
    """The rendered template, as it is sent."""
    template: str
    template_hash: str
    structure: Structure
    max_output_tokens: int
    repair: bool = False
    """Whether this repeats a call whose answer could not be parsed."""
    schema: type[BaseModel] = field(compare=False)
    """The answer's schema. Not hashed: the template and its hash stand for it."""

    @property
    def hash(self) -> str:
        """16 hex digits, equal for equal calls."""
        return hashed({**self.origin(), **self.request()})

    def origin(self) -> dict[str, Any]:
        """The fields of a ledger's intent that say which call of which run this is."""
        return {
            "writer": self.writer,
            "sdk": self.sdk,
            "model": self.model,
            "concept": self.concept,
            "split": self.split,
            "iteration": self.iteration,
            "round": self.round,
            "base_url": self.base_url,
            "repair": self.repair,
        }

    def request(self) -> dict[str, Any]:
        """The fields of a ledger's intent that say what is requested."""
        return {
            "count": self.count,
            "prompt": self.prompt,
            "template": self.template,
            "template_hash": self.template_hash,
            "structure": self.structure,
            "max_output_tokens": self.max_output_tokens,
        }


def hashed(content: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of ``content`` as canonical JSON."""
    return hashlib.sha256(canonical_json(content)).hexdigest()[:16]
