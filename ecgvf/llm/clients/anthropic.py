"""Anthropic's messages, through its own SDK: Claude."""

import asyncio
import json
from collections.abc import Mapping, Set
from datetime import datetime
from typing import Any

from ecgvf.core import console
from ecgvf.llm.calls import Call
from ecgvf.llm.clients import content_filters
from ecgvf.llm.clients.client import LOOK_BACK, BatchStatus, Failed, within
from ecgvf.llm.clients.http import batch_failures, failures, results, timeouts
from ecgvf.llm.clients.reply import Outcome, Reply, Usage, usage
from ecgvf.llm.registry import WriterConfig

_POLL_SECONDS = 30.0

_OUTCOMES: dict[str, Outcome] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


class AnthropicClient:
    """One Claude model."""

    def __init__(self, config: WriterConfig, secret: str | None) -> None:
        import anthropic

        self.sdk, self._timeout_s = anthropic, config.timeout_s
        self.client = anthropic.AsyncAnthropic(
            api_key=secret or "none",
            base_url=config.base_url,
            max_retries=0,
            timeout=timeouts(config.timeout_s),
            http_client=anthropic.DefaultAsyncHttpxClient(follow_redirects=False),  # a prompt goes nowhere else
        )
        if not f"{config.base_url}/".startswith("https://api.anthropic.com/"):
            # $ANTHROPIC_CUSTOM_HEADERS, which the SDK adds to every request, is for Anthropic alone.
            self.client._custom_headers = {}

    async def send(self, call: Call) -> str:
        with failures(self.sdk):
            raw = await self.client.messages.with_raw_response.create(**self.body(call))
            return str(await raw.text())

    async def submit(self, calls: Mapping[str, Call], mark: str) -> str:
        requests: list[Any] = [{"custom_id": name, "params": self.body(call)} for name, call in calls.items()]
        with batch_failures(self.sdk):
            batch = await within(self._timeout_s, self.client.messages.batches.create(requests=requests))
            return str(batch.id)

    async def find(self, mark: str, names: Set[str], since: str, known: Set[str]) -> str | None:
        """Anthropic's batches carry no mark: a batch is known by the names in its results, once it has ended."""
        earliest = datetime.fromisoformat(since) - LOOK_BACK
        with failures(self.sdk):
            candidates = []
            async for batch in self.client.messages.batches.list(limit=100):
                if batch.created_at < earliest:
                    break
                if batch.id not in known:
                    candidates.append(str(batch.id))
        waiting = False
        while True:
            for candidate in list(candidates):
                if (await self.progress(candidate)).ended:
                    if names & set(await self.results(candidate)):
                        return candidate
                    candidates.remove(candidate)
            if not candidates:
                return None
            if not waiting:
                ids = ", ".join(candidates)
                console.note(f"waiting for batch {ids} to end: only then does Anthropic show whether it is this run's")
                waiting = True
            await asyncio.sleep(_POLL_SECONDS)

    async def progress(self, batch: str) -> BatchStatus:
        with failures(self.sdk):
            state = await self.client.messages.batches.retrieve(batch)
            counts = state.request_counts
            done = counts.succeeded + counts.errored + counts.canceled + counts.expired
            return BatchStatus(done, state.processing_status == "ended")

    async def results(self, batch: str) -> dict[str, str | Failed]:
        from httpx2 import Response

        # Raw: the SDK's own reader stops at the first line that it cannot parse.
        with failures(self.sdk):
            answer = await self.client.get(f"/v1/messages/batches/{batch}/results", cast_to=Response)
        return results(answer.text, _result)

    def body(self, call: Call) -> dict[str, Any]:
        """The request for a call, sent by itself or in a batch."""
        body: dict[str, Any] = {
            "model": call.model,
            "max_tokens": call.max_output_tokens,
            "messages": [{"role": "user", "content": call.prompt}],
        }
        if call.structure == "schema":  # Anthropic has no JSON mode
            from anthropic import transform_schema

            schema = transform_schema(call.schema)  # as ``messages.parse`` would send it
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return body

    async def close(self) -> None:
        await self.client.close()


def _result(line: dict[str, Any]) -> tuple[str, str | Failed]:
    name, result = str(line["custom_id"]), line["result"]
    match result["type"]:
        case "succeeded":
            return name, json.dumps(result["message"], ensure_ascii=False)
        case "errored":
            error = json.dumps(result["error"], ensure_ascii=False)
            return name, Failed(error, "filtered" if content_filters.stopped(400, error) else "faulty", raw=error)
        case kind:
            return name, Failed(str(kind), "faulty")


def read(body: dict[str, Any]) -> Reply:
    """The reply in a message: its text blocks, without the thinking blocks."""
    used, model = body.get("usage") or {}, str(body.get("model", ""))
    charged = usage(used.get("input_tokens"), used.get("output_tokens"))
    cached = usage(used.get("cache_creation_input_tokens") or 0, used.get("cache_read_input_tokens") or 0)
    if charged and cached:
        charged += Usage(cached.input_tokens + cached.output_tokens, 0)
    text = "".join(block["text"] for block in body["content"] if block["type"] == "text")
    stop = str(body.get("stop_reason"))
    if stop == "refusal":
        details = body.get("stop_details") or {}
        return Reply(details.get("explanation") or text, "refusal", charged, details.get("category") or stop, model)
    outcome = _OUTCOMES.get(stop, "complete" if text else "empty")
    return Reply(text, outcome, charged, "" if outcome == "complete" else stop, model)
