"""OpenAI's chat completions, through its own SDK: GPT, by base URL Kimi, Doubao, DeepSeek and compatible servers."""

import json
from collections.abc import Mapping, Set
from datetime import datetime
from typing import Any

from ecgvf.llm.calls import Call
from ecgvf.llm.clients.client import LOOK_BACK, BatchStatus, Failed, within
from ecgvf.llm.clients.http import batch_failures, failures, results, status_failure, timeouts
from ecgvf.llm.clients.reply import Outcome, Reply, Usage, usage
from ecgvf.llm.registry import WriterConfig

_ENDED = {"completed", "failed", "expired", "cancelled"}


class OpenAIClient:
    """One model behind chat completions."""

    def __init__(self, config: WriterConfig, secret: str | None) -> None:
        import openai

        self.sdk = openai
        self._limit, self._timeout_s = config.limit, config.timeout_s
        self.client = openai.AsyncOpenAI(
            api_key=secret or "none",
            base_url=config.base_url,
            max_retries=0,
            timeout=timeouts(config.timeout_s),
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),  # a prompt goes nowhere else
        )
        if not config.base_url.startswith("https://api.openai.com/"):
            # Organisation, project and $OPENAI_CUSTOM_HEADERS, which the SDK adds to every request, are for OpenAI
            # alone. The last may hold any header, so all are replaced.
            self.client._custom_headers = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}

    async def send(self, call: Call) -> str:
        with failures(self.sdk):
            raw = await self.client.chat.completions.with_raw_response.create(**self.body(call))
            return str(raw.text)

    async def submit(self, calls: Mapping[str, Call], mark: str) -> str:
        lines = [
            {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": self.body(call)}
            for name, call in calls.items()
        ]
        data = "".join(json.dumps(line, ensure_ascii=True) + "\n" for line in lines).encode()
        try:
            with failures(self.sdk):
                upload = self.client.files.create(file=(f"ecgvf-{mark}.jsonl", data), purpose="batch")
                file = await within(self._timeout_s, upload)
        except Failed as failed:
            failed.lost = False  # a file costs nothing
            raise
        with batch_failures(self.sdk):
            creation = self.client.batches.create(
                input_file_id=file.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"ecgvf": mark},
            )
            return str((await within(self._timeout_s, creation)).id)

    async def find(self, mark: str, names: Set[str], since: str, known: Set[str]) -> str | None:
        earliest = (datetime.fromisoformat(since) - LOOK_BACK).timestamp()
        with failures(self.sdk):
            async for batch in self.client.batches.list(limit=100):
                if batch.created_at < earliest:
                    break
                if (batch.metadata or {}).get("ecgvf") == mark:
                    return str(batch.id)
        return None

    async def progress(self, batch: str) -> BatchStatus:
        with failures(self.sdk):
            state = await self.client.batches.retrieve(batch)
            counts = state.request_counts
            done = counts.completed + counts.failed if counts else 0
            return BatchStatus(done, state.status in _ENDED, _faults(state) if state.status == "failed" else "")

    async def results(self, batch: str) -> dict[str, str | Failed]:
        with failures(self.sdk):
            state = await self.client.batches.retrieve(batch)
            files = filter(None, (state.output_file_id, state.error_file_id))
            texts = [(await self.client.files.content(file)).text for file in files]
        return results("\n".join(texts), _result)

    def body(self, call: Call) -> dict[str, Any]:
        """The request for a call, sent by itself or in a batch."""
        body: dict[str, Any] = {
            "model": call.model,
            "messages": [{"role": "user", "content": call.prompt}],
            self._limit: call.max_output_tokens,
        }
        if call.structure == "schema":
            from openai import pydantic_function_tool

            schema = pydantic_function_tool(call.schema)["function"]["parameters"]  # as ``parse`` would send it
            json_schema = {"schema": schema, "name": call.schema.__name__, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
        elif call.structure == "json":
            body["response_format"] = {"type": "json_object"}
        return body

    async def close(self) -> None:
        await self.client.close()


def _faults(batch: Any) -> str:
    """Why a batch is invalid, each reason once: every line of it has the same fault."""
    errors = batch.errors.data or [] if batch.errors else []
    reasons = dict.fromkeys(f"{error.code}: {error.message}" for error in errors)
    return "; ".join(reasons) or "no reason is given"


def _result(line: dict[str, Any]) -> tuple[str, str | Failed]:
    name, response = str(line["custom_id"]), line.get("response")
    if response and response.get("status_code") == 200:
        return name, json.dumps(response["body"], ensure_ascii=False)
    if response:
        return name, status_failure(int(response["status_code"]), {}, json.dumps(response.get("body")))
    error = line.get("error") or {}
    return name, Failed(f"{error.get('code')}: {error.get('message')}", "faulty")


def read(body: dict[str, Any]) -> Reply:
    """The reply in a chat completion: its first choice."""
    used, model = body.get("usage") or {}, str(body.get("model", ""))
    charged = usage(used.get("prompt_tokens"), used.get("completion_tokens"))
    total = usage(0, used.get("total_tokens"))
    if charged and total:  # some servers count thinking in the total only
        charged += Usage(0, max(0, total.output_tokens - charged.input_tokens - charged.output_tokens))
    choice = body["choices"][0]
    message, finish = choice["message"], str(choice.get("finish_reason"))
    text = _text(message.get("content"))
    if message.get("refusal"):
        return Reply(str(message["refusal"]), "refusal", charged, "refusal", model)
    outcome: Outcome = {"length": "length", "content_filter": "filter"}.get(finish, "complete" if text else "empty")  # type: ignore[assignment]
    return Reply(text, outcome, charged, "" if outcome == "complete" else finish, model)


def _text(content: object) -> str:
    """A message's text; compatible servers may send it in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
