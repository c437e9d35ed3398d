"""OpenAI's chat completions, through its own SDK: GPT, and by base URL Kimi, Doubao, DeepSeek and servers like it."""

import json
from collections.abc import Mapping, Set
from datetime import datetime
from typing import Any

from ecgvf.llm.clients import Call, Failed, Outcome, Progress, Reply, usage
from ecgvf.llm.clients.http import failures, refused, results, timeouts
from ecgvf.llm.registry import Entry
from ecgvf.pairs.parsing import answer_schema

_ENDED = {"completed", "failed", "expired", "cancelled"}


def open_writer(entry: Entry, secret: str | None) -> "OpenAIWriter":
    """The writer of an entry; the SDK is imported here."""
    return OpenAIWriter(entry, secret)


class OpenAIWriter:
    """One model behind chat completions."""

    def __init__(self, entry: Entry, secret: str | None) -> None:
        import openai

        self.sdk = openai
        self._entry = entry
        self._omit = openai.Omit()
        # The organisation and project of the environment are OpenAI's; another provider has no business with them.
        foreign: dict[str, Any] = {"OpenAI-Organization": self._omit, "OpenAI-Project": self._omit}
        self.client = openai.AsyncOpenAI(
            api_key=secret or "none",
            base_url=entry.base_url,
            max_retries=0,
            timeout=timeouts(entry.timeout_s),
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),  # a prompt goes where the user said
            default_headers=None if entry.base_url.startswith("https://api.openai.com/") else foreign,
        )

    async def send(self, call: Call) -> str:
        """The answer as it came. ``parse`` sends the schema; what came back is kept before anybody reads it."""
        completions = self.client.chat.completions.with_raw_response
        limit = {self._entry.limit: call.max_output_tokens}
        with failures(self.sdk):
            if call.structure == "schema":
                raw = await completions.parse(
                    model=call.model,
                    messages=[{"role": "user", "content": call.prompt}],
                    response_format=answer_schema(call.split),
                    extra_body=limit,
                )
                return str(raw.text)
            plain = await completions.create(
                model=call.model,
                messages=[{"role": "user", "content": call.prompt}],
                response_format={"type": "json_object"} if call.structure == "json" else self._omit,
                extra_body=limit,
            )
            return str(plain.text)

    async def submit(self, calls: Mapping[str, Call], mark: str) -> str:
        lines = [
            {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": self.body(call)}
            for name, call in calls.items()
        ]
        data = "".join(json.dumps(line, ensure_ascii=True) + "\n" for line in lines).encode()
        with failures(self.sdk):
            file = await self.client.files.create(file=(f"ecgvf-{mark}.jsonl", data), purpose="batch")
            batch = await self.client.batches.create(
                input_file_id=file.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"ecgvf": mark},
            )
            return str(batch.id)

    async def find(self, mark: str, names: Set[str], since: str, known: Set[str]) -> str | None:
        earliest = datetime.fromisoformat(since).timestamp() - 300
        with failures(self.sdk):
            async for batch in self.client.batches.list(limit=100):
                if batch.created_at < earliest:
                    break
                if (batch.metadata or {}).get("ecgvf") == mark:
                    return str(batch.id)
        return None

    async def progress(self, batch: str) -> Progress:
        with failures(self.sdk):
            state = await self.client.batches.retrieve(batch)
            counts = state.request_counts
            done = counts.completed + counts.failed if counts else 0
            return Progress(done, state.status in _ENDED, _faults(state) if state.status == "failed" else "")

    async def results(self, batch: str) -> dict[str, str | Failed]:
        with failures(self.sdk):
            state = await self.client.batches.retrieve(batch)
            files = [one for one in (state.output_file_id, state.error_file_id) if one]
            texts = [(await self.client.files.content(file)).text for file in files]
        return results("\n".join(texts), _result)

    def body(self, call: Call) -> dict[str, Any]:
        """The request as ``send`` puts it on the wire, for a batch's file."""
        from openai import pydantic_function_tool

        body: dict[str, Any] = {
            "model": call.model,
            "messages": [{"role": "user", "content": call.prompt}],
            self._entry.limit: call.max_output_tokens,
        }
        if call.structure == "schema":
            model = answer_schema(call.split)
            schema = pydantic_function_tool(model)["function"]["parameters"]
            form = {"schema": schema, "name": model.__name__, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        elif call.structure == "json":
            body["response_format"] = {"type": "json_object"}
        return body

    async def close(self) -> None:
        await self.client.close()


def _faults(batch: Any) -> str:
    """Why a batch was not valid, each reason once: the same fault is in every line of it."""
    errors = batch.errors.data or [] if batch.errors else []
    said = dict.fromkeys(f"{error.code}: {error.message}" for error in errors)
    return "; ".join(said)[:300] or "no reason is given"


def _result(line: dict[str, Any]) -> tuple[str, str | Failed]:
    name, response = str(line["custom_id"]), line.get("response")
    if response and response.get("status_code") == 200:
        return name, json.dumps(response["body"], ensure_ascii=False)
    if response:
        return name, refused(int(response["status_code"]), {}, json.dumps(response.get("body")))
    error = line.get("error") or {}
    return name, Failed(f"{error.get('code')}: {error.get('message')}", "faulty")


def read(body: dict[str, Any]) -> Reply:
    """A chat completion: its first choice."""
    used, model = body.get("usage") or {}, str(body.get("model", ""))
    charged = usage(used.get("prompt_tokens"), used.get("completion_tokens"))
    choice = body["choices"][0]
    message, finish = choice["message"], str(choice.get("finish_reason"))
    text = _text(message.get("content"))
    if message.get("refusal"):
        return Reply(str(message["refusal"]), "refusal", charged, "refusal", model)
    outcome: Outcome = {"length": "length", "content_filter": "filter"}.get(finish, "complete" if text else "empty")  # type: ignore[assignment]
    return Reply(text, outcome, charged, "" if outcome == "complete" else finish, model)


def _text(content: object) -> str:
    """A message's text; servers like OpenAI's may give it in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
