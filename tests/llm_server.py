"""Six providers on loopback: a server that speaks the wire formats of the three SDKs, and misbehaves on demand.

Chat completions (``/openai/v1``), messages (``/anthropic``) and ``generateContent`` (``/gemini``, v1 and v1beta), with
the batch endpoints of the first two. What it does with a request is decided by ``behave``; what it charges is what a
provider would: an answer with status 200, whether or not it arrived.
"""

import hashlib
import json
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from ecgvf.llm.registry import Registry
from ecgvf.world.grammar import load_world

JSON = dict[str, Any]

SIX = ("gpt", "claude", "gemini", "kimi", "doubao", "deepseek")
PRICES_READ = date(2026, 11, 25)
"""The day on which the prices of ``data/writers.yaml`` were read: they hold here on every later day as well."""

_STOPPED: JSON = {"code": "content_filter", "message": "The response was filtered", "param": "prompt", "type": None}
FILTER_STOPPED: dict[str, JSON] = {
    "openai": _STOPPED,
    "gemini": _STOPPED,
    "anthropic": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"},
}
"""Wire format → the error of a content filter that answers with an error status."""

FOREIGN: JSON = {"status": "ok", "result": []}
"""JSON with status 200 that is no provider's answer."""

_OPENAI_FIELDS = {"model", "messages", "stream", "response_format", "max_tokens", "max_completion_tokens"}
_ANTHROPIC_FIELDS = {"model", "messages", "max_tokens", "output_config"}
_GEMINI_FIELDS = {"contents", "generationConfig", "automaticContinuation"}

_ADJECTIVES = [
    "old",
    "stone",
    "red",
    "brick",
    "white",
    "wooden",
    "ruined",
    "gothic",
    "tiny",
    "grand",
    "modern",
    "baroque",
    "mossy",
    "gilded",
    "lonely",
    "rural",
]
_PLACES = [
    "hill",
    "lake",
    "harbour",
    "desert",
    "forest",
    "valley",
    "island",
    "square",
    "cliff",
    "meadow",
    "canal",
    "village",
    "river",
    "glacier",
    "plaza",
    "moor",
]
_THINGS = [
    "bicycles",
    "lanterns",
    "sheep",
    "poppies",
    "umbrellas",
    "pigeons",
    "market",
    "stalls",
    "candles",
    "boats",
    "tulips",
    "horses",
    "carts",
]
_SKIES = [
    "stormy",
    "starry",
    "cloudless",
    "orange",
    "misty",
    "rainy",
    "snowy",
    "golden",
    "violet",
    "overcast",
    "pale",
    "moonlit",
    "thundery",
    "hazy",
]
_TIMES = [
    "dawn",
    "dusk",
    "noon",
    "midnight",
    "sunrise",
    "sunset",
    "twilight",
    "easter",
    "harvest",
    "christmas",
    "autumn",
    "spring",
    "winter",
    "summer",
]
_VIEWS = [
    "above",
    "below",
    "afar",
    "within",
    "behind",
    "across",
    "beside",
    "underwater",
    "overhead",
    "nearby",
    "indoors",
    "outdoors",
    "sideways",
]
_MEDIA = [
    "photograph",
    "watercolour",
    "engraving",
    "woodcut",
    "mosaic",
    "fresco",
    "sketch",
    "etching",
    "poster",
    "lithograph",
    "collage",
]


@dataclass(slots=True)
class Request:
    """One request as it came in."""

    wire: str
    path: str
    headers: Mapping[str, str]
    body: JSON
    model: str
    prompt: str
    at: float
    number: int
    """How many requests for this model came before."""


Behave = Callable[[Request], str]

MALFORMED = ("garbage", "half", "foreign")
"""Behaviours with status 200 and a whole body that is no answer: a page, half of the JSON, and JSON of no provider."""


@dataclass(slots=True)
class Batch:
    requests: list[JSON]
    metadata: JSON = field(default_factory=dict)
    results: list[JSON] = field(default_factory=list)
    polls: int = 0
    polls_until_done: float | None = None
    """Its own, where it is not the server's."""


class LlmServer:
    """The server. ``behave`` names what to do with a request (see ``_Handler.answer``); ``latency`` is in seconds."""

    def __init__(self, behave: Behave = lambda _: "fine", latency: float = 0.0) -> None:
        self.behave, self.latency = behave, latency
        self.requests: list[Request] = []
        self.charged = Decimal(0)
        self.prices = {writer.config.model: writer.rates for writer in Registry(today=PRICES_READ).all()}
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Batch] = {}
        self.polls_until_done = 1
        self.invalid = ""
        """Why OpenAI's batches fail their validation; empty where they do not."""
        self.refuses: set[str] = set()
        """Types of ``response_format`` that chat completions answer with status 400."""
        self.clock = 0.0
        """Seconds by which its clock is ahead."""
        self.uploads: list[int | Literal["hang"]] = []
        """The statuses with which the next uploads of a batch's file are refused; some hang."""
        self.creations: list[int] = []
        """The statuses with which the next batches are answered, although they are created."""
        self.downloads: list[str] = []
        """How the next downloads of a batch's results go wrong: ``cut`` or ``garbled`` (its first line)."""
        self.lock = threading.Lock()
        self.hang = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.llm = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator["LlmServer"]:
        self._thread.start()
        try:
            yield self
        finally:
            self.hang.set()
            self._server.shutdown()
            self._server.server_close()

    def registry(self, folder: Path, **fields: Any) -> Path:
        """A user's registry that sends the six writers here, at prices that do not end.

        ``fields`` override fields of all of them.
        """
        paths = {"openai": "/openai/v1", "anthropic": "/anthropic", "google-genai": "/gemini"}
        quick = {"requests_per_minute": 1_000_000, "tokens_per_minute": 1_000_000_000, "timeout_s": 10}
        writers = {
            writer.name: {
                "base_url": self.url + paths[writer.config.sdk],
                "key": writer.config.key,
                "price": writer.config.price and writer.config.price.model_dump(mode="json", exclude={"until"}),
                "batch": writer.config.batch,
                "batch_price_share": str(writer.config.batch_price_share),
                **quick,
                **fields,
            }
            for writer in Registry().all()
        }
        file = folder / "writers.yaml"
        file.write_text(json.dumps({"writers": writers}), encoding="utf-8")  # which is YAML, written sooner
        return file

    def charge(self, model: str, usage: tuple[int, int], share: Decimal = Decimal(1)) -> None:
        with self.lock:
            self.charged += self.prices[model].cost(*usage) * share


def chaos(seed: int) -> Behave:
    """A bad network: 10% dropped, 5% malformed, 5% cut off, 10% rate-limited, the same for the same seed."""

    def behave(request: Request) -> str:
        chance = random.Random(f"{seed}/{request.model}/{request.number}")
        roll = chance.random()
        for behaviour, share in {"drop": 0.10, "malformed": 0.05, "cut": 0.05, "429": 0.10}.items():
            if roll < share:
                return chance.choice(MALFORMED) if behaviour == "malformed" else behaviour
            roll -= share
        return "fine"

    return behave


def prompts(request: Request, behaviour: str = "fine") -> list[JSON]:
    """The pairs or evaluation prompts that a well-behaved model would give: decided by model and prompt alone."""
    wanted = re.search(r"Write (\d+) prompt", request.prompt)
    count = int(wanted[1]) if wanted else 1
    rng = random.Random(hashlib.sha256(f"{request.model}/{request.prompt}".encode()).hexdigest())
    if behaviour == "thirty":
        count = 30
    if "plain captions" in request.prompt:
        return captions(request, rng)
    found = []
    concept = "mosque" if "masjid" in request.prompt else "church"  # examples/own_concept.py
    grounds, skies = load_world().grounds, load_world().skies
    for _ in range(count):
        kind, place, thing, sky, when, view, medium = map(
            rng.choice, (_ADJECTIVES, _PLACES, _THINGS, _SKIES, _TIMES, _VIEWS, _MEDIA)
        )
        scene = f"by a {place} with {thing} under a {sky} sky at {when}, {view}, {medium}"
        if concept == "mosque":  # in words that Janus-nano knows
            kind, scene = "big", " ".join(rng.choice(rng.choice(list(of.values())).english) for of in (grounds, skies))
        pair = {"target": f"A {kind} {concept} {scene}.", "target_term": concept}
        if behaviour != "without-surrogates":
            pair |= {"surrogate": f"A {kind} hotel {scene}.", "surrogate_term": "hotel"}
        if "prompt pairs" not in request.prompt:
            pair |= {"wording": "explicit"}
        found.append(pair)
    if behaviour == "duplicates":
        found = [found[0]] * count
    if behaviour == "leak":
        for pair in found:
            pair["surrogate"], pair["surrogate_term"] = pair["target"].replace("church", "chapel"), "chapel"
    if behaviour == "wrong-schema":
        found = [{"prompt": pair["target"], "replacement": pair.get("surrogate", "")} for pair in found]
    hostile = {
        "html": "<script>alert(1)</script>",
        "escapes": "\x1b[2J\x1b[31m",
        "jinja": "{{ 7 * 7 }}{% for x in y %}",
        "markup": "[bold red]",
    }
    if behaviour in hostile:
        for pair in found:
            pair["target"] = pair["target"].replace("church", f"church {hostile[behaviour]}")
            if "surrogate" in pair:
                pair["surrogate"] = pair["surrogate"].replace("hotel", f"hotel {hostile[behaviour]}")
    if behaviour == "huge":
        found[0]["target"] += "x" * 10_000_000
    return found


def captions(request: Request, rng: random.Random) -> list[JSON]:
    """A caption of each retained concept that is listed; the first names church, the last is about something else."""
    listed = request.prompt.partition("of this list")[2].partition("Rules")[0]
    names = re.findall(r"^- (.+)$", listed, re.MULTILINE)
    found = []
    for name in names:
        place, sky, when, view = map(rng.choice, (_PLACES, _SKIES, _TIMES, _VIEWS))
        found.append({"target": f"{name} by a {place} under a {sky} sky at {when}, {view}.", "retained_concept": name})
    found[0]["target"] += " A church is behind it."
    found[-1]["retained_concept"] = "something else"
    return found


def text(request: Request, behaviour: str) -> str:
    """The text of the model's answer."""
    key = "pairs" if "prompt pairs" in request.prompt else "prompts"
    answer = json.dumps({key: prompts(request, behaviour)}, ensure_ascii=False)
    match behaviour:
        case "truncated" | "length":
            return answer[: len(answer) * 2 // 3]
        case "fence":
            return f"```json\n{answer}\n```"
        case "prose":
            return f"Here is what you asked for:\n\n{answer}\n\nI hope that this helps!"
        case "copy":
            return next(line for line in request.prompt.splitlines() if line.startswith(f'{{"{key}"'))
        case "refusal":
            return "I cannot help with that."
        case "refusal-in-words":
            return "I'm sorry, but I can't help with that."
        case "thinking":  # of the pairs that it would give if it were asked again
            return f"<think>{answer} {'Hm. ' * 100}</think>Certainly! Which kind of church do you have in mind?"
        case "chatter":
            return "Certainly! Which kind of church do you have in mind?"
        case "filter" | "empty":
            return ""
    return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that was killed is no error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def llm(self) -> LlmServer:
        return self.server.llm  # type: ignore[attr-defined,no-any-return]

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/openai/v1/files":
            return self.upload(data)
        body = json.loads(data)
        if self.path == "/openai/v1/chat/completions":
            return self.chat("openai", body, str(body.get("model")), body["messages"][-1]["content"])
        if self.path == "/anthropic/v1/messages":
            return self.chat("anthropic", body, str(body.get("model")), body["messages"][-1]["content"])
        if found := re.fullmatch(r"/gemini/v1(?:beta)?/models/([^:/]+):generateContent", self.path):
            return self.chat("gemini", body, found[1], body["contents"][-1]["parts"][-1]["text"])
        if self.path == "/openai/v1/batches":
            lines = self.llm.files[body["input_file_id"]].splitlines()
            return self.begin("openai", [json.loads(line) for line in lines], body.get("metadata") or {})
        if self.path == "/anthropic/v1/messages/batches":
            return self.begin("anthropic", body["requests"], {})
        return self.send_json(404, {"error": {"message": f"no {self.path} here", "code": 404, "status": "NOT_FOUND"}})

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if (found := re.match(r"/(?:openai|anthropic)/v1/(?:messages/)?batches/(\w+)", path)) and (
            found[1] not in self.llm.batches
        ):
            return self.send_json(404, {"error": {"message": f"no batch {found[1]}", "type": "not_found_error"}})
        if found := re.fullmatch(r"/openai/v1/batches/(\w+)", path):
            return self.send_json(200, self.openai_batch(found[1], poll=True))
        if path == "/openai/v1/batches":
            ids = [name for name in reversed(self.llm.batches) if name.startswith("openai")]
            data = [self.openai_batch(name) for name in ids]
            return self.send_json(200, {"object": "list", "data": data, "has_more": False})
        if found := re.fullmatch(r"/openai/v1/files/(\w+)/content", path):
            return self.results(self.llm.files[found[1]], "application/octet-stream")
        if found := re.fullmatch(r"/anthropic/v1/messages/batches/(\w+)", path):
            return self.send_json(200, self.anthropic_batch(found[1], poll=True))
        if path == "/anthropic/v1/messages/batches":
            ids = [name for name in reversed(self.llm.batches) if name.startswith("anthropic")]
            data = [self.anthropic_batch(name) for name in ids]
            return self.send_json(200, {"data": data, "has_more": False, "first_id": None, "last_id": None})
        if found := re.fullmatch(r"/anthropic/v1/messages/batches/(\w+)/results", path):
            lines = b"".join(json.dumps(result).encode() + b"\n" for result in self.llm.batches[found[1]].results)
            return self.results(lines, "application/binary")
        return self.send_json(404, {"error": {"message": f"no {path} here"}})

    # One call

    def chat(self, wire: str, body: JSON, model: str, prompt: str) -> None:
        llm = self.llm
        with llm.lock:
            number = sum(earlier.model == model for earlier in llm.requests)
            request = Request(
                wire, self.path, dict(self.headers.items()), body, model, prompt, time.monotonic(), number
            )
            llm.requests.append(request)
        refusal = self.refusal(wire, body)
        if refusal:
            return self.send_error_body(wire, 400, refusal)
        if llm.latency:
            time.sleep(llm.latency)
        return self.answer(request, llm.behave(request))

    def answer(self, request: Request, behaviour: str) -> None:
        wire = request.wire
        if behaviour == "hang":
            self.llm.hang.wait(30)
            self.close_connection = True
            return None
        if behaviour == "drip":
            return self.drip()
        if behaviour == "429":
            return self.send_error_body(wire, 429, "slow down", {"retry-after": "0.01"})
        if behaviour == "429-bare":
            return self.send_error_body(wire, 429, "slow down")
        if behaviour == "no-quota":
            return self.send_error_body(wire, 429, "insufficient_quota: you exceeded your current quota")
        if behaviour in ("echo-key", "echo-keys"):
            names = ("authorization", "x-api-key", "x-goog-api-key")
            key = next(filter(None, map(self.headers.get, names)))
            return self.send_error_body(
                wire, 401, f"incorrect API key provided: {key * (20 if behaviour == 'echo-keys' else 1)}"
            )
        if behaviour == "filter-status":
            return self.send_json(400, {"type": "error", "error": FILTER_STOPPED[wire]})
        if behaviour.isdigit():
            return self.send_error_body(wire, int(behaviour), "something is wrong")
        if behaviour == "slow":
            time.sleep(0.2)
        body, usage = completion(request, behaviour)
        self.llm.charge(request.model, usage)
        if behaviour == "drop":
            return self.hang_up()
        if behaviour == "cut":
            return self.cut(json.dumps(body).encode())
        if behaviour == "garbage":
            return self.send_data(200, b"<html>welcome to the hotel's network</html>", {"content-type": "text/html"})
        if behaviour == "half":
            data = json.dumps(body).encode()
            return self.send_data(200, data[: len(data) // 2], {"content-type": "application/json"})
        if behaviour == "foreign":
            return self.send_json(200, FOREIGN)
        return self.send_json(200, body)

    def refusal(self, wire: str, body: JSON) -> str | None:
        """What the real provider would refuse."""
        known = {"openai": _OPENAI_FIELDS, "anthropic": _ANTHROPIC_FIELDS, "gemini": _GEMINI_FIELDS}[wire]
        if unknown := set(body) - known:
            return f"unknown parameter: {sorted(unknown)}"
        if wire == "openai":
            if not self.headers.get("authorization", "").startswith("Bearer "):
                return "no bearer token"
            form = body.get("response_format")
            if form and form["type"] in self.llm.refuses:
                return f"response_format.type: {form['type']!r} is not supported"
            if form and form["type"] == "json_schema":
                return _loose(form["json_schema"]["schema"]) if form["json_schema"].get("strict") else "not strict"
            if form and form["type"] == "json_object" and "json" not in body["messages"][-1]["content"].lower():
                return "'messages' must contain the word 'json'"
        if wire == "anthropic":
            if not (self.headers.get("authorization") or self.headers.get("x-api-key")):
                return "no key"  # the SDK sends a bearer token since version 2
            if not self.headers.get("anthropic-version"):
                return "anthropic-version: field required"
            if "max_tokens" not in body:
                return "max_tokens: field required"
            if "output_config" in body:
                return _loose(body["output_config"]["format"]["schema"])
        if wire == "gemini" and not self.headers.get("x-goog-api-key"):
            return "no API key"
        return None

    # Batches

    def upload(self, data: bytes) -> None:
        if self.llm.uploads:
            status = self.llm.uploads.pop(0)
            if status == "hang":
                self.llm.hang.wait(30)
                self.close_connection = True
                return None
            return self.send_error_body("openai", status, "something is wrong")
        head = b"content-type: " + self.headers["content-type"].encode() + b"\r\n\r\n"
        for part in BytesParser().parsebytes(head + data).get_payload():
            if part.get_param("name", header="content-disposition") == "file":  # type: ignore[union-attr]
                with self.llm.lock:
                    name = f"file{len(self.llm.files)}"
                    self.llm.files[name] = part.get_payload(decode=True)  # type: ignore[union-attr,assignment]
        return self.send_json(
            200, {"id": name, "object": "file", "bytes": 1, "created_at": 1, "filename": "f", "purpose": "batch"}
        )

    def begin(self, wire: str, requests: list[JSON], metadata: JSON) -> None:
        llm = self.llm
        with llm.lock:
            name = f"{wire}{len(llm.batches)}"
            batch = llm.batches[name] = Batch(requests, metadata)
        for item in requests if wire == "anthropic" or not llm.invalid else []:
            body = item["body"] if wire == "openai" else item["params"]
            request = Request(wire, "batch", dict(self.headers.items()), body, body["model"], "", time.monotonic(), 0)
            request.prompt = body["messages"][-1]["content"]
            with llm.lock:
                request.number = sum(earlier.model == request.model for earlier in llm.requests)
                llm.requests.append(request)
            batch.results.append(self.batched(wire, item["custom_id"], request, llm.behave(request)))
        if wire == "openai":
            good = [result for result in batch.results if result.get("response")]
            bad = [result for result in batch.results if not result.get("response")]
            llm.files[f"out{name}"] = b"".join(json.dumps(result).encode() + b"\n" for result in good)
            llm.files[f"err{name}"] = b"".join(json.dumps(result).encode() + b"\n" for result in bad)
        if llm.creations:
            return self.send_error_body(wire, llm.creations.pop(0), "something is wrong")
        return self.send_json(200, self.openai_batch(name) if wire == "openai" else self.anthropic_batch(name))

    def results(self, lines: bytes, content: str) -> None:
        behaviour = self.llm.downloads.pop(0) if self.llm.downloads else "fine"
        if behaviour == "cut":
            return self.cut(lines)
        if behaviour == "garbled":
            first, *others = lines.splitlines(keepends=True)
            lines = b"".join([first[: len(first) // 2] + b"\n", *others])
        return self.send_data(200, lines, {"content-type": content})

    def batched(self, wire: str, name: str, request: Request, behaviour: str) -> JSON:
        if behaviour == "expired":
            if wire == "openai":
                return {"custom_id": name, "response": None, "error": {"code": "batch_expired", "message": "too late"}}
            return {"custom_id": name, "result": {"type": "expired"}}
        if behaviour.isdigit() or behaviour == "filter-status":
            stopped = behaviour == "filter-status"
            fault = FILTER_STOPPED[wire] if stopped else {"message": "something is wrong", "type": "api_error"}
            status = 400 if stopped else int(behaviour)
            if wire == "openai":
                return {"custom_id": name, "response": {"status_code": status, "body": {"error": fault}}}
            return {"custom_id": name, "result": {"type": "errored", "error": {"type": "error", "error": fault}}}
        body, usage = completion(request, behaviour)
        self.llm.charge(request.model, usage, Decimal("0.5"))
        if behaviour == "foreign":
            body = FOREIGN
        if wire == "openai":
            return {"id": name, "custom_id": name, "response": {"status_code": 200, "request_id": "r", "body": body}}
        return {"custom_id": name, "result": {"type": "succeeded", "message": body}}

    def openai_batch(self, name: str, poll: bool = False) -> JSON:
        batch = self.llm.batches[name]
        batch.polls += poll
        done = batch.polls > self.llm.polls_until_done
        count = len(batch.requests)
        faults = [
            {"code": "invalid_request", "message": self.llm.invalid, "param": None, "line": line}
            for line in range(count)
        ]
        invalid = {"status": "failed", "errors": {"object": "list", "data": faults}} if self.llm.invalid else {}
        return {
            "id": name,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": "file0",
            "completion_window": "24h",
            "metadata": batch.metadata,
            "created_at": int(time.time() + self.llm.clock),
            "status": "completed" if done else "in_progress",
            "output_file_id": f"out{name}" if done and self.llm.files[f"out{name}"] else None,
            "error_file_id": f"err{name}" if done and self.llm.files[f"err{name}"] else None,
            "request_counts": {"total": count, "completed": count if done else 0, "failed": 0},
            **invalid,
        }

    def anthropic_batch(self, name: str, poll: bool = False) -> JSON:
        batch = self.llm.batches[name]
        batch.polls += poll
        done = batch.polls > (batch.polls_until_done or self.llm.polls_until_done)
        counts = {
            "processing": 0 if done else len(batch.requests),
            "succeeded": 0,
            "errored": 0,
            "canceled": 0,
            "expired": 0,
        }
        return {
            "id": name,
            "type": "message_batch",
            "processing_status": "ended" if done else "in_progress",
            "request_counts": counts,
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.llm.clock)),
            "expires_at": "2099-01-01T00:00:00Z",
            "ended_at": None,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"{self.llm.url}/anthropic/v1/messages/batches/{name}/results" if done else None,
        }

    # Sending

    def send_error_body(self, wire: str, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        shapes = {
            "openai": {"error": {"message": message, "type": "error", "param": None, "code": None}},
            "anthropic": {"type": "error", "error": {"type": "api_error", "message": message}},
            "gemini": {"error": {"code": status, "message": message, "status": "UNAVAILABLE"}},
        }
        self.send_data(
            status, json.dumps(shapes[wire]).encode(), {"content-type": "application/json", **(headers or {})}
        )

    def send_json(self, status: int, body: JSON) -> None:
        self.send_data(status, json.dumps(body, ensure_ascii=False).encode(), {"content-type": "application/json"})

    def send_data(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        try:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except OSError:  # the client was killed
            self.close_connection = True

    def drip(self) -> None:
        """A byte now and then, for ever."""
        try:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "1000000")
            self.end_headers()
            while not self.llm.hang.wait(0.05):
                self.wfile.write(b" ")
        except OSError:  # the client hung up
            pass
        self.close_connection = True

    def hang_up(self) -> None:
        """Close the connection without an answer."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def cut(self, data: bytes) -> None:
        """Half of the body, and then nothing more."""
        try:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.close_connection = True


def completion(request: Request, behaviour: str) -> tuple[JSON, tuple[int, int]]:
    """The body of an answer in its provider's format, and the tokens that are charged for it."""
    answer = text(request, behaviour)
    usage = (len(request.prompt) // 4 + 1, len(answer) // 4 + 1)
    model = "some-other-model" if behaviour == "other-model" else request.model
    if request.wire == "openai":
        refused = behaviour == "refusal"
        finish = {"length": "length", "filter": "content_filter"}.get(behaviour, "stop")
        message = {"role": "assistant", "content": None if refused else answer, "refusal": answer if refused else None}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
            "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)},
        }, usage
    if request.wire == "anthropic":
        stop = {"length": "max_tokens", "refusal": "refusal", "filter": "refusal"}.get(behaviour, "end_turn")
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": answer}] if answer else [],
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": {"input_tokens": usage[0], "output_tokens": usage[1]},
        }, usage
    if behaviour == "filter":
        metered = {"promptTokenCount": usage[0], "totalTokenCount": usage[0]}
        return {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": metered, "modelVersion": model}, (
            usage[0],
            0,
        )
    finish = {"length": "MAX_TOKENS", "refusal": "SAFETY"}.get(behaviour, "STOP")
    parts = [{"text": "Let me think.", "thought": True}, {"text": answer}] if answer else []
    thoughts = 7 if answer else 0
    usage = (usage[0], usage[1] + thoughts)
    return {
        "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": finish, "index": 0}],
        "usageMetadata": {
            "promptTokenCount": usage[0],
            "candidatesTokenCount": usage[1] - thoughts,
            "thoughtsTokenCount": thoughts,
            "totalTokenCount": sum(usage),
        },
        "modelVersion": model,
        "responseId": "r",
    }, usage


def _loose(schema: Any) -> str | None:
    """Where a schema is not as strict as the provider wants it: objects closed, every property required."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and (
            schema.get("additionalProperties") is not False or set(schema["required"]) != set(schema["properties"])
        ):
            return "Invalid schema: 'additionalProperties' is required to be false, and all properties to be required"
        return next((found for value in schema.values() if (found := _loose(value))), None)
    if isinstance(schema, list):
        return next((found for value in schema if (found := _loose(value))), None)
    return None
