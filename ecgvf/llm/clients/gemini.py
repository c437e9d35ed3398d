"""Google's ``generateContent``, through its own SDK (google-genai): Gemini."""

from typing import TYPE_CHECKING, Any

from ecgvf.llm.calls import Call
from ecgvf.llm.clients.client import Failed
from ecgvf.llm.clients.http import connection_failure, status_failure, timeouts
from ecgvf.llm.clients.reply import Outcome, Reply, usage
from ecgvf.llm.registry import WriterConfig

if TYPE_CHECKING:
    import httpx2

_OUTCOMES: dict[str, Outcome] = {"STOP": "complete", "MAX_TOKENS": "length", "CONTINUATION": "length"}

_FIELDS = {"candidates", "promptFeedback", "usageMetadata", "modelVersion"}
"""All are optional; a body without any of them is not Gemini's."""

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


class GeminiClient:
    """One Gemini model."""

    def __init__(self, config: WriterConfig, secret: str | None) -> None:
        import httpx2
        from google import genai
        from google.genai.types import HttpOptions

        # Our own HTTP client: with aiohttp installed the SDK would use that, which retries by itself.
        self._http = httpx2.AsyncClient(follow_redirects=False, event_hooks={"request": [self._set_timeouts]})
        self._timeouts = timeouts(config.timeout_s)
        self._client = genai.Client(
            api_key=secret or "none",
            vertexai=False,
            http_options=HttpOptions(
                base_url=config.base_url,
                api_version=config.api_version,
                # The SDK sends it to the server, which refuses less than 10 s; ``within`` ends a call earlier.
                timeout=max(10_000, int(config.timeout_s * 1000)),
                httpx_async_client=self._http,
            ),
        )

    async def _set_timeouts(self, request: "httpx2.Request") -> None:
        """The SDK itself has one time-out for both connecting and reading."""
        request.extensions["timeout"] = self._timeouts.as_dict()

    async def send(self, call: Call) -> str:
        """The raw answer."""
        import httpx2
        from google.genai.errors import APIError
        from google.genai.types import AutomaticFunctionCallingConfig, GenerateContentConfig

        config = GenerateContentConfig(
            max_output_tokens=call.max_output_tokens,
            response_mime_type=None if call.structure == "text" else "application/json",
            response_schema=call.schema if call.structure == "schema" else None,
            should_return_http_response=True,
            # Both would send further requests, unknown to the ledger.
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
            raise status_failure(error.code, headers, str(getattr(response, "text", "") or error.details)) from error
        except httpx2.HTTPError as error:
            raise connection_failure(error) from error
        except UnicodeDecodeError as error:  # the SDK decodes a failure's body as UTF-8
            raise Failed("the answer is not UTF-8 text", "faulty", lost=True) from error
        return (answer.sdk_http_response.body or "") if answer.sdk_http_response else ""

    async def close(self) -> None:
        await self._client.aio.aclose()
        self._client.close()
        await self._http.aclose()


def read(body: dict[str, Any]) -> Reply:
    """The reply in a response: its first candidate's text, without its thoughts."""
    if not _FIELDS & body.keys():
        raise LookupError(f"none of {', '.join(sorted(_FIELDS))}")
    used, model = body.get("usageMetadata") or {}, str(body.get("modelVersion", ""))
    charged = usage(used.get("promptTokenCount"), used.get("candidatesTokenCount") or 0)
    thought = usage(0, used.get("thoughtsTokenCount") or 0)
    if charged and thought:
        charged += thought
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
    outcome = _OUTCOMES.get(finish, "complete")
    if outcome == "complete" and not text:
        outcome = "empty"
    return Reply(text, outcome, charged, "" if outcome == "complete" else finish, model)
