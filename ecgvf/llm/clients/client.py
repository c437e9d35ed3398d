"""The interface of a client, and the exception of an attempt that fails."""

import asyncio
from collections.abc import Awaitable, Mapping, Set
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Protocol, TypeVar

from ecgvf.llm.calls import Call

T = TypeVar("T")

LOOK_BACK = timedelta(days=1)
"""How long before it was submitted a batch may have been created, by the provider's clock."""


class Failed(Exception):
    """An attempt failed.

    ``kind``: ``busy`` (rate limit) and ``faulty`` (time-out, connection, server error) are retried, ``denied`` is not.
    ``filtered`` means that a content filter stopped this prompt, which counts as an answer.
    ``status``: the HTTP status, if there was one. ``raw``: the body. ``retry_after``: seconds that the provider asks to
    wait. ``lost``: the request was sent and the provider's answer never arrived, so it may have been charged.
    """

    def __init__(
        self,
        message: str,
        kind: Literal["busy", "faulty", "denied", "filtered"],
        *,
        status: int | None = None,
        raw: str = "",
        retry_after: float | None = None,
        lost: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind, self.status, self.raw, self.retry_after, self.lost = kind, status, raw, retry_after, lost


class Client(Protocol):
    """One LLM behind its provider's SDK. It must not retry by itself, because every attempt has to be in the ledger."""

    async def send(self, call: Call) -> str:
        """Send a call; return the provider's answer as it arrived, unparsed. Raises ``Failed``."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """The state of a batch."""

    done: int
    ended: bool
    refused: str = ""
    """Why the provider rejected the whole batch; nothing was charged for it."""


class BatchClient(Client, Protocol):
    """A client with a batch endpoint."""

    async def submit(self, calls: Mapping[str, Call], mark: str) -> str:
        """Submit calls (name → call) as one batch, labelled ``mark``; return the batch's id.

        Each of its requests may take the writer's ``timeout_s``. Raises ``Failed``, which is ``lost`` if the batch may
        have been created.
        """

    async def find(self, mark: str, names: Set[str], since: str, known: Set[str]) -> str | None:
        """The id of the batch that was submitted with ``mark`` and ``names`` after ``since`` (ISO 8601), or None.

        It looks back ``LOOK_BACK`` further. ``known`` are ids of other batches. Raises ``Failed``.
        """

    async def progress(self, batch: str) -> BatchStatus:
        """The state of a batch. Raises ``Failed``."""

    async def results(self, batch: str) -> dict[str, str | Failed]:
        """Name → the provider's answer as it arrived, or why there is none, once the batch ended. Raises ``Failed``."""


async def within(seconds: float, answer: Awaitable[T]) -> T:
    """Await ``answer`` for ``seconds`` at most. Raises ``Failed``.

    An SDK's own time-out is per read: a server that sends a byte now and then never reaches it.
    """
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError as error:
        raise Failed(f"no answer within {seconds:g} seconds", "faulty", lost=True) from error
