"""The clients of LLM providers, one file per SDK.

A ``Call`` is sent by a ``RemoteWriter``, which imports its SDK when it is opened and not before. The provider's answer
is kept as it came, and read by the ``read`` of the same file, which needs no SDK.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal, Protocol, TypeVar

from ecgvf.core.records import Split
from ecgvf.core.text import encodable
from ecgvf.llm.clients import content_filters as filtered
from ecgvf.llm.clients import refusals as declined
from ecgvf.llm.registry import Named, Sdk, Structure

Outcome = Literal["complete", "length", "refusal", "filter", "empty", "unreadable"]
"""How an answer ended. Only ``complete`` can be bad JSON; ``unreadable`` is not in the provider's own format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One question to one LLM, with everything that decides the answer. No key is part of it."""

    writer: str
    sdk: Sdk
    model: str
    concept: str
    split: Split
    iteration: int
    round: int
    """How often ``--fresh`` asked this writer for this split anew."""
    base_url: str
    """Where it is sent: another server gives another answer, whatever its model is called."""
    count: int
    """Prompts asked for."""
    prompt: str
    """The rendered template, as it is sent."""
    template: str
    template_hash: str
    structure: Structure
    max_output_tokens: int
    repair: bool = False
    """Whether this asks again after an answer that could not be read."""

    @property
    def hash(self) -> str:
        """16 hex digits, the same whenever the same thing is asked."""
        return _hashed({**self.place(), **self.request()})

    def place(self) -> dict[str, Any]:
        """Where in a run it belongs."""
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
        """What is asked."""
        return {
            "count": self.count,
            "prompt": self.prompt,
            "template": self.template,
            "template_hash": self.template_hash,
            "structure": self.structure,
            "max_output_tokens": self.max_output_tokens,
        }


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a provider charges, thinking included."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What is in an answer: the text, how it ended, and what it used; ``usage`` is None where it does not say."""

    text: str
    outcome: Outcome
    usage: Usage | None
    why: str = ""
    """The provider's own word for an outcome that is not ``complete``."""
    model: str = ""
    """The model that says it has answered."""


class Failed(Exception):
    """An attempt without an answer.

    ``kind`` is ``busy`` (rate limit) or ``faulty`` (time-out, connection, server error), which are tried again, or
    ``denied``, which is not. ``filtered`` is an answer after all: a content filter stopped this prompt.
    ``lost``: it was sent and may have been charged, but nobody knows.
    """

    def __init__(
        self,
        said: str,
        kind: Literal["busy", "faulty", "denied", "filtered"],
        *,
        status: int | None = None,
        raw: str = "",
        retry_after: float | None = None,
        lost: bool = False,
    ) -> None:
        super().__init__(said)
        self.kind, self.status, self.raw, self.retry_after, self.lost = kind, status, raw, retry_after, lost


T = TypeVar("T")


async def within(seconds: float, answer: Awaitable[T]) -> T:
    """What is awaited, or ``Failed`` after so many seconds in all.

    An SDK's own time-out is for one reading: a server that sends a byte now and then would never meet it.
    """
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError as error:
        raise Failed(f"no answer within {seconds:g} seconds", "faulty", lost=True) from error


class RemoteWriter(Protocol):
    """An LLM behind one SDK. Its client retries nothing by itself: every attempt is in the ledger."""

    async def send(self, call: Call) -> str:
        """The provider's answer as it came, unread. Raises ``Failed``."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is."""

    done: int
    ended: bool
    refused: str = ""
    """Why the provider did not take the batch at all; nothing of it was charged."""


class BatchWriter(Protocol):
    """An LLM behind a provider's batch endpoint. Calls go by the names that the caller gives them."""

    async def submit(self, calls: Mapping[str, Call], mark: str) -> str:
        """Hand calls in together, marked; the batch's id. Raises ``Failed``."""

    async def find(self, mark: str, names: Set[str], since: str, known: Set[str]) -> str | None:
        """The id of the batch that was submitted with ``mark`` and these names after ``since`` (ISO 8601), or None."""

    async def progress(self, batch: str) -> Progress:
        """How far it is. Raises ``Failed``."""

    async def results(self, batch: str) -> dict[str, str | Failed]:
        """Name → the provider's answer as it came, or why there is none. Raises ``Failed``."""

    async def close(self) -> None:
        """Close the connections."""


_FILES: dict[Sdk, str] = {"openai": "openai", "anthropic": "anthropic", "google-genai": "gemini"}


def open_writer(named: Named) -> RemoteWriter:
    """The writer of a registry's entry; its SDK is imported now."""
    opened: RemoteWriter = _file(named.entry.sdk).open_writer(named.entry, named.secret())
    return opened


def open_batch_writer(named: Named) -> BatchWriter:
    """The writer of a registry's entry that says ``batch: true``, for its batch endpoint."""
    opened: BatchWriter = _file(named.entry.sdk).open_writer(named.entry, named.secret())
    return opened


def read(sdk: Sdk, raw: str) -> Reply:
    """What is in a provider's answer. Never raises, whatever it is, and needs no SDK."""
    body = _body(raw)
    if body is None:
        return Reply("", "unreadable", None, "not a JSON object")
    if said := filtered.why(body):
        return Reply("", "filter", Usage(0, 0), encodable(said))
    reader: Callable[[dict[str, Any]], Reply] = _file(sdk).read
    try:
        found = reader(body)
        found = replace(found, text=encodable(found.text), why=encodable(found.why), model=encodable(found.model))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        return Reply("", "unreadable", None, f"not as the provider answers ({type(error).__name__}: {error})")
    if found.outcome == "complete" and declined.in_words(found.text):
        return replace(found, outcome="refusal", why="in words")
    return found


def usage(tokens_in: object, tokens_out: object) -> Usage | None:
    """What a provider says it charges for; None where that is no pair of token counts, and so tells no cost."""
    counts = [one for one in (tokens_in, tokens_out) if isinstance(one, int) and not isinstance(one, bool) and one >= 0]
    return Usage(*counts) if len(counts) == 2 else None


def _file(sdk: Sdk) -> Any:
    return import_module(f"ecgvf.llm.clients.{_FILES[sdk]}")


def _body(raw: str) -> dict[str, Any] | None:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _hashed(parts: dict[str, Any]) -> str:
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
