"""Anthropic's messages, through its own SDK: Claude."""

import asyncio
import json
from collections.abc import Mapping, Set
from datetime import datetime, timedelta
from typing import Any

from ecgvf.core import console
from ecgvf.llm.clients import Call, Failed, Outcome, Progress, Reply, Usage, usage
from ecgvf.llm.clients import content_filters as filtered
from ecgvf.llm.clients.http import failures, results, timeouts
from ecgvf.llm.registry import Entry
from ecgvf.pairs.parsing import answer_schema

_POLL_SECONDS = 30.0

_OUTCOMES: dict[str, Outcome] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


def open_writer(entry: Entry, secret: str | None) -> "AnthropicWriter":
    """The writer of an entry; the SDK is imported here."""
    return AnthropicWriter(entry, secret)


class AnthropicWriter:
    """One Claude."""

    def __init__(self, entry: Entry, secret: str | None) -> None:
        import anthropic

        self.sdk = anthropic
        self._omit = anthropic.Omit()
        self.client = anthropic.AsyncAnthropic(
            api_key=secret or "none",
            base_url=entry.base_url,
            max_retries=0,
            timeout=timeouts(entry.timeout_s),
            http_client=anthropic.DefaultAsyncHttpxClient(follow_redirects=False),  # a prompt goes where the user said
        )

    async def send(self, call: Call) -> str:
        """The answer as it came. The SDK turns our model into an output format; ``parse`` has no raw response."""
        with failures(self.sdk):
            raw = await self.client.messages.with_raw_response.create(
                model=call.model,
                max_tokens=call.max_output_tokens,
                messages=[{"role": "user", "content": call.prompt}],
                output_config=output_config(call) or self._omit,
            )
            return str(await raw.text())

    async def submit(self, calls: Mapping[str, Call], mark: str) -> str:
        requests: list[Any] = [{"custom_id": name, "params": self.body(call)} for name, call in calls.items()]
        with failures(self.sdk):
            batch = await self.client.messages.batches.create(requests=requests)
            return str(batch.id)

    async def find(self, mark: str, names: Set[str], since: str, known: Set[str]) -> str | None:
        """Batches carry no mark here: one is known by the names in its results, once it has ended."""
        earliest = datetime.fromisoformat(since) - timedelta(minutes=5)
        with failures(self.sdk):
            candidates = []
            async for batch in self.client.messages.batches.list(limit=100):
                if batch.created_at < earliest:
                    break
                if batch.id not in known:
                    candidates.append(str(batch.id))
        told = False
        while True:
            for candidate in list(candidates):
                if (await self.progress(candidate)).ended:
                    if names & set(await self.results(candidate)):
                        return candidate
                    candidates.remove(candidate)
            if not candidates:
                return None
            if not told:
                ids = console.escape(", ".join(candidates))
                console.note(f"waiting for batch {ids} to end: only then does Anthropic tell whether it is this run's")
                told = True
            await asyncio.sleep(_POLL_SECONDS)

    async def progress(self, batch: str) -> Progress:
        with failures(self.sdk):
            state = await self.client.messages.batches.retrieve(batch)
            counts = state.request_counts
            done = counts.succeeded + counts.errored + counts.canceled + counts.expired
            return Progress(done, state.processing_status == "ended")

    async def results(self, batch: str) -> dict[str, str | Failed]:
        from httpx2 import Response

        # As it came: the SDK's own reader stops at the first line that it cannot read.
        with failures(self.sdk):
            answer = await self.client.get(f"/v1/messages/batches/{batch}/results", cast_to=Response)
        return results(answer.text, _result)

    def body(self, call: Call) -> dict[str, Any]:
        """The request as ``send`` puts it on the wire, for a batch."""
        body: dict[str, Any] = {
            "model": call.model,
            "max_tokens": call.max_output_tokens,
            "messages": [{"role": "user", "content": call.prompt}],
        }
        config = output_config(call)
        return body | ({"output_config": config} if config else {})

    async def close(self) -> None:
        await self.client.close()


def _result(line: dict[str, Any]) -> tuple[str, str | Failed]:
    name, result = str(line["custom_id"]), line["result"]
    match result["type"]:
        case "succeeded":
            return name, json.dumps(result["message"], ensure_ascii=False)
        case "errored":
            said = json.dumps(result["error"], ensure_ascii=False)
            return name, Failed(said, "filtered" if filtered.stopped(400, said) else "faulty", raw=said)
        case other:
            return name, Failed(str(other), "faulty")


def output_config(call: Call) -> Any:
    """How the answer is held to its schema, as ``messages.parse`` would ask for it; None for plain text."""
    from anthropic import transform_schema

    if call.structure != "schema":  # Anthropic has no mode for JSON of any shape
        return None
    return {"format": {"type": "json_schema", "schema": transform_schema(answer_schema(call.split))}}


def read(body: dict[str, Any]) -> Reply:
    """A message: its blocks of text, without those of thinking."""
    used, model = body.get("usage") or {}, str(body.get("model", ""))
    charged = usage(used.get("input_tokens"), used.get("output_tokens"))
    cached = usage(used.get("cache_creation_input_tokens") or 0, used.get("cache_read_input_tokens") or 0)
    if charged and cached:
        charged = Usage(charged.input_tokens + cached.input_tokens + cached.output_tokens, charged.output_tokens)
    text = "".join(block["text"] for block in body["content"] if block["type"] == "text")
    stop = str(body.get("stop_reason"))
    if stop == "refusal":
        details = body.get("stop_details") or {}
        return Reply(details.get("explanation") or text, "refusal", charged, details.get("category") or stop, model)
    outcome = _OUTCOMES.get(stop, "complete" if text else "empty")
    return Reply(text, outcome, charged, "" if outcome == "complete" else stop, model)
