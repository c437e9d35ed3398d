"""Google's ``generateContent``, through its own SDK (google-genai): Gemini."""

from typing import TYPE_CHECKING, Any

from ecgvf.llm.clients import Call, Failed, Outcome, Reply, Usage, usage
from ecgvf.llm.clients.http import broken, refused, timeouts
from ecgvf.llm.registry import Entry
from ecgvf.pairs.parsing import answer_model

if TYPE_CHECKING:
    import httpx2

_STOPPED: dict[str, Outcome] = {"STOP": "complete", "MAX_TOKENS": "length", "CONTINUATION": "length"}

_FIELDS = {"candidates", "promptFeedback", "usageMetadata", "modelVersion"}
"""All are optional; a body without any is not Gemini's."""

_FILTERED = {
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "ESCALATION",
    "PUP_LIMITED_DISABLED",
    "MODEL_ARMOR",
}


def open_writer(entry: Entry, secret: str | None) -> "GeminiWriter":
    """The writer of an entry; the SDK is imported here."""
    return GeminiWriter(entry, secret)


class GeminiWriter:
    """One Gemini."""

    def __init__(self, entry: Entry, secret: str | None) -> None:
        import httpx2
        from google import genai
        from google.genai.types import HttpOptions

        # A client of our own: with aiohttp installed the SDK would take that, which sends again by itself.
        self._http = httpx2.AsyncClient(follow_redirects=False, event_hooks={"request": [self._patient]})
        self._timeouts = timeouts(entry.timeout_s)
        self._client = genai.Client(
            api_key=secret or "none",
            vertexai=False,
            http_options=HttpOptions(
                base_url=entry.base_url,
                api_version=entry.api_version,
                timeout=int(entry.timeout_s * 1000),
                httpx_async_client=self._http,
            ),
        )

    async def _patient(self, request: "httpx2.Request") -> None:
        """The SDK has one time-out for connecting and reading."""
        request.extensions["timeout"] = self._timeouts.as_dict()

    async def send(self, call: Call) -> str:
        """The answer as it came."""
        import httpx2
        from google.genai.errors import APIError
        from google.genai.types import AutomaticFunctionCallingConfig, GenerateContentConfig

        config = GenerateContentConfig(
            max_output_tokens=call.max_output_tokens,
            response_mime_type=None if call.structure == "text" else "application/json",
            response_schema=answer_model(call.split) if call.structure == "schema" else None,
            should_return_http_response=True,
            # Both would make further calls, of which no ledger knew.
            automatic_function_calling=AutomaticFunctionCallingConfig(disable=True),
            automatic_continuation=False,
        )
        try:
            answer = await self._client.aio.models.generate_content(
                model=call.model, contents=call.prompt, config=config
            )
        except APIError as error:
            response = error.response
            headers = dict(getattr(response, "headers", None) or {})
            raise refused(error.code, headers, str(getattr(response, "text", "") or error.details)) from error
        except httpx2.HTTPError as error:
            raise broken(error) from error
        except UnicodeDecodeError as error:  # the SDK reads a failure's body as UTF-8
            raise Failed("an answer that is no UTF-8 text", "faulty", lost=True) from error
        return (answer.sdk_http_response.body or "") if answer.sdk_http_response else ""

    async def close(self) -> None:
        await self._client.aio.aclose()
        self._client.close()
        await self._http.aclose()


def read(body: dict[str, Any]) -> Reply:
    """A response: its first candidate's text, without its thoughts."""
    if not _FIELDS & body.keys():
        raise LookupError(f"none of {', '.join(sorted(_FIELDS))}")
    used, model = body.get("usageMetadata") or {}, str(body.get("modelVersion", ""))
    charged = usage(used.get("promptTokenCount"), used.get("candidatesTokenCount") or 0)
    thought = usage(0, used.get("thoughtsTokenCount") or 0)
    if charged and thought:
        charged = Usage(charged.input_tokens, charged.output_tokens + thought.output_tokens)
    blocked = (body.get("promptFeedback") or {}).get("blockReason")
    if blocked:
        return Reply("", "filter", charged, str(blocked), model)
    candidates = body.get("candidates") or []
    if not candidates:
        return Reply("", "empty", charged, "no candidates", model)
    first = candidates[0]
    finish = str(first.get("finishReason"))
    parts = (first.get("content") or {}).get("parts") or []
    text = "".join(part.get("text") or "" for part in parts if not part.get("thought"))
    if finish in _FILTERED:
        return Reply(text, "filter", charged, finish, model)
    outcome = _STOPPED.get(finish, "complete")
    if outcome == "complete" and not text:
        outcome = "empty"
    return Reply(text, outcome, charged, "" if outcome == "complete" else finish, model)
