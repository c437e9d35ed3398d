"""A client that keeps to its provider's rate limits."""

from aiolimiter import AsyncLimiter

from ecgvf.core import console
from ecgvf.llm import budget
from ecgvf.llm.calls import Call
from ecgvf.llm.clients import open_client
from ecgvf.llm.clients.client import Client, Failed
from ecgvf.llm.registry import STRUCTURES, LLMWriter, Structure

_STRUCTURE_REFUSED = {400, 422}
"""Statuses that servers send for a field, or a value of it, that they do not know."""

_CALLED: dict[Structure, str] = {"schema": "a JSON schema", "json": "JSON mode", "text": "no response format"}


def per_minute(limit: int) -> AsyncLimiter:
    """A limiter of at most ``limit`` in any 60 seconds: half of them at once, the other half over the minute.

    ``AsyncLimiter(limit)`` would let all of them pass at once, and as many again within the same minute.
    """
    at_once = max(1, limit // 2)
    return AsyncLimiter(at_once, 60 * at_once / max(1, limit - at_once))


class RateLimitedClient:
    """The client of one writer, opened when it is first needed."""

    def __init__(self, writer: LLMWriter) -> None:
        self.writer = writer
        self._client: Client | None = None
        self._calls = per_minute(writer.config.requests_per_minute)
        self._tokens = per_minute(writer.config.tokens_per_minute)

    async def admit(self, call: Call) -> None:
        """Wait until the rate limits allow ``call``."""
        tokens = budget.input_tokens(call) + budget.likely_output_tokens(call)
        await self._tokens.acquire(min(tokens, self._tokens.max_rate))
        await self._calls.acquire()

    def open(self) -> Client:
        """The client itself, opened on first use. That may import its SDK, so do it outside a call's time-out."""
        if self._client is None:
            self._client = open_client(self.writer)
        return self._client

    def fall_back(self, failed: Failed) -> bool:
        """Switch to a looser structure, if the server may have refused this one; return whether it did."""
        writer, structure = self.writer, self.writer.structure
        if writer.config.structure != "auto" or structure == STRUCTURES[-1] or failed.status not in _STRUCTURE_REFUSED:
            return False
        writer.refused.add(structure)
        console.note(
            f"{writer.name} refuses {_CALLED[structure]} (status {failed.status}): going on with "
            f"{_CALLED[writer.structure]}"
        )
        return True

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
