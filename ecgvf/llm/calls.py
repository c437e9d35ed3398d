"""A call: a request to an LLM, with everything that decides the answer."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from ecgvf.core.files import content_hash
from ecgvf.core.records import Split
from ecgvf.llm.registry import Sdk, Structure

ORIGIN = ("writer", "sdk", "model", "concept", "split", "iteration", "restarts", "base_url", "repair")
REQUEST = ("count", "prompt", "template", "template_hash", "structure", "max_output_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request to an LLM. Its hash identifies it in the ledger, so equal calls are paid once. It has no API key."""

    writer: str
    sdk: Sdk
    model: str
    concept: str
    split: Split
    iteration: int
    restarts: int
    """How many times ``--fresh`` started this writer over on this split."""
    base_url: str
    """Part of the hash, since another server gives another answer even if its model has the same name."""
    count: int
    """Number of prompts requested."""
    prompt: str
    """The rendered template, as it is sent."""
    template: str
    template_hash: str
    structure: Structure
    max_output_tokens: int
    repair: bool = False
    """Whether this repeats a call whose answer could not be parsed."""
    build: bool = field(default=False, compare=False)
    """Whether the budget of ``ecgvf build`` pays for it. Not hashed, because the answer is the same."""
    base: str = field(default="", compare=False)
    """The hash of the same call without the earlier prompts that it lists, and without a repair's text; "" if it has
    neither. Not hashed, because the prompt covers it."""
    schema: type[BaseModel] = field(compare=False)
    """The schema of the answer. Not hashed, because the split decides it."""

    @property
    def hash(self) -> str:
        """16 hex digits, equal for equal calls."""
        return content_hash({**self.origin(), **self.request()})

    def origin(self) -> dict[str, Any]:
        """The fields of a ledger's intent that say which call of which run this is."""
        return {name: getattr(self, name) for name in ORIGIN}

    def request(self) -> dict[str, Any]:
        """The fields of a ledger's intent that say what is requested."""
        return {name: getattr(self, name) for name in REQUEST}
