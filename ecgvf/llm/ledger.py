"""The ledger: every LLM call in an append-only file, ``STORE/<concept>/ledger.jsonl``, so that each is paid once.

Each attempt at a call (``attempt.py``) has two lines. The *intent* is on the disk before the request is sent; the
*answer* is on the disk before anything parses it. So a call that was cut off in between is known, counts as possibly
paid, and is sent again; a call whose answer is there is never sent again. A body with status 200 that is not the
provider's JSON is no answer: its line is kept, marked as ``lost``.

    {"line": "intent", "call": …, "attempt": 1, "writer": …, "model": …, "request": {…}, "reserved": "0.16", …}
    {"line": "answer", "call": …, "attempt": 1, "status": 200, "seconds": 2.1, "raw": "…", "usage": {…}, "cost": "0.01"}
    {"line": "restart", "writer": …, "split": …, "restarts": 1, …}    --fresh started the writer over on this split
    {"line": "batch", "batch": …, "calls": {…}, …}                    these attempts were submitted together

The answer's line is written in two flushed steps: up to ``raw``, and then what was read in it. A kill between them
leaves a valid answer. A line cut short anywhere else is ignored.

No secret reaches the file: keys are not part of a request, and are scrubbed from what providers send
(``ecgvf.llm.secrets``).
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

from ecgvf.core.errors import StoreCorrupt, StoreError
from ecgvf.core.files import JSON, disk_errors, lock_file, require_local, sync_folder
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS
from ecgvf.llm.attempt import Attempt, Spent, cost_of
from ecgvf.llm.calls import ORIGIN, REQUEST, Call
from ecgvf.llm.clients import read
from ecgvf.llm.clients.client import Failed
from ecgvf.llm.clients.reply import Usage
from ecgvf.llm.registry import Rates
from ecgvf.llm.secrets import scrub

MAX_MESSAGE_CHARACTERS = 300
"""How much of a failure's message is kept; the whole body is in ``raw``."""


class Ledger:
    """The calls about one concept. Writing requires ``writing()``. Raises ``StoreCorrupt`` for any other file."""

    def __init__(self, file: Path, secrets: Mapping[str, str] | None = None) -> None:
        self.file = file
        self._secrets = dict(secrets or {})
        self._handle: int | None = None
        self._torn = False
        """Whether the file may end in a line that was cut short, which must not swallow the next."""
        self._load()

    @classmethod
    def load(cls, run: ConceptRun, secrets: Mapping[str, str] | None = None) -> Self:
        """The ledger of a run; ``secrets`` (key → replacement) never reach it."""
        return cls(run.folder(PAIRS).parent / "ledger.jsonl", secrets)

    # Reading

    def attempts(self) -> Iterator[Attempt]:
        """All attempts, call by call, in the order in which the calls were first made."""
        for attempts in self._calls.values():
            yield from attempts.values()

    def of_call(self, call: str) -> list[Attempt]:
        """The attempts at one call, by its hash."""
        return list(self._calls.get(call, {}).values())

    def answered_attempt(self, call: str) -> Attempt | None:
        """The last answered attempt at a call, or None."""
        return next((attempt for attempt in reversed(self.of_call(call)) if attempt.answered), None)

    def restarts(self, writer: str, split: str) -> int:
        """How many times ``--fresh`` started ``writer`` over on this split."""
        return self._restarts.get((writer, split), 0)

    def in_a_batch(self, attempt: Attempt) -> bool:
        """Whether an attempt was submitted in a batch whose id is known."""
        return any(line["calls"].get(attempt.intent["call"]) == attempt.number for line in self.batches.values())

    def spent(self, included: Callable[[JSON], bool] = lambda _: True) -> Spent:
        """The cost of the attempts whose intent is ``included``."""
        spent = Spent()
        for attempt in self.attempts():
            if not included(attempt.intent):
                continue
            spent.cost += attempt.cost
            spent.possible += attempt.reserved if attempt.charge_unknown else 0
            spent.tokens += attempt.usage or Usage(0, 0)
        return spent

    # Writing

    @contextmanager
    def writing(self) -> Iterator[Self]:
        """Lock the file for this process: two runs at once would pay twice. Raises ``StoreError``."""
        require_local(self.file, "the ledger of paid calls")
        with disk_errors(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)  # less the umask
        try:
            try:
                lock_file(self._handle, self.file)
            except BlockingIOError as error:
                raise StoreError(
                    f"another run is sending calls for {self.file.parent}: wait for it, or use another --store"
                ) from error
            sync_folder(self.file.parent)  # or a power cut may take a new file with everything that was paid
            self._load()  # what another run wrote before this one had the lock
            size = os.fstat(self._handle).st_size
            self._torn = bool(size) and os.pread(self._handle, 1, size - 1) != b"\n"
            yield self
        finally:
            os.close(self._handle)
            self._handle = None

    def restart(self, writers: Iterable[str], split: str) -> None:
        """Start these writers over (``--fresh``): their earlier answers for ``split`` no longer count."""
        for writer in writers:
            number = self.restarts(writer, split) + 1
            self._write({"line": "restart", "writer": writer, "split": split, "restarts": number, "at": _now()})
            self._restarts[writer, split] = number

    def record_intent(self, call: Call, rates: Rates, reserved: Decimal, **details: Any) -> int:
        """Record that ``call`` is about to be sent, at a cost of at most ``reserved``; return the attempt's number.

        ``details`` are further fields of the line.
        """
        attempts = self._calls.setdefault(call.hash, {})
        number = max(attempts, default=0) + 1
        intent = {
            "line": "intent",
            "call": call.hash,
            "attempt": number,
            "at": _now(),
            **call.origin(),
            **({"build": True} if call.build else {}),
            **({"base": call.base} if call.base else {}),
            "price": {"input": str(rates.input), "output": str(rates.output)},
            "reserved": str(reserved),
            **details,
            "request": call.request(),
        }
        self._write(intent)
        attempts[number] = Attempt(intent)
        return number

    def record_answer(self, call: str, attempt: int, raw: str, seconds: float) -> Attempt:
        """Record an answer as it arrived and flush it; then read its cost and model, and record those.

        ``seconds`` is how long it took. The attempt is not ``answered`` if ``raw`` is not in the provider's format.
        """
        record = self._calls[call][attempt]
        clean = self.clean(raw)
        line = {**_answer(call, attempt, seconds), "status": 200, "raw": clean}
        self._append(_json(line)[:-1])
        reply = read(record.intent["sdk"], clean)
        usage = reply.usage
        cost = cost_of(usage, record.rates)
        metered = {
            "usage": None if usage is None else {"input": usage.input_tokens, "output": usage.output_tokens},
            "cost": None if cost is None else str(cost),
            "model_asked": record.intent["model"],
            "model_answered": reply.model,
            **({"lost": True} if reply.outcome == "unreadable" else {}),
        }
        self._append(b"," + _json(metered)[1:] + b"\n")
        record.answer = {**line, **metered}
        return record

    def record_failure(self, call: str, attempt: int, failed: Failed, seconds: float) -> None:
        """Record that an attempt failed: its status, its message, and whether it may have been charged all the same."""
        line = {
            **_answer(call, attempt, seconds),
            "status": failed.status,
            "error": self.message(str(failed)),
            "lost": failed.lost,
            "raw": self.clean(failed.raw),
            "usage": None,
            "cost": None if failed.lost else "0",
        }
        self._write(line)
        self._calls[call][attempt].answer = line

    def record_batch(self, batch: str, writer: str, calls: Mapping[str, int]) -> None:
        """Record that ``calls`` (hash → attempt) were submitted together as ``batch``."""
        line = {"line": "batch", "batch": batch, "writer": writer, "at": _now(), "calls": dict(calls)}
        self._write(line)
        self.batches[batch] = line

    def clean(self, text: str) -> str:
        """``text`` from a provider with its keys replaced, so that it can be stored and printed."""
        return scrub(text, self._secrets)

    def message(self, text: str) -> str:
        """A provider's message, cleaned and then cut: a key that was cut before would not be found."""
        return self.clean(text)[:MAX_MESSAGE_CHARACTERS]

    # Internals

    def _write(self, line: JSON) -> None:
        self._append(_json(line) + b"\n")

    def _append(self, data: bytes) -> None:
        if self._handle is None:
            raise StoreError(f"{self.file} is not open for writing")
        with disk_errors(self.file):
            view = memoryview(b"\n" + data if self._torn else data)
            self._torn = True  # until all of it is on the disk
            while view:
                view = view[os.write(self._handle, view) :]
            os.fsync(self._handle)
            self._torn = False

    def _load(self) -> None:
        self._calls: dict[str, dict[int, Attempt]] = {}
        self._restarts: dict[tuple[str, str], int] = {}
        self.batches: dict[str, JSON] = {}
        """Batch id → its line."""
        if not self.file.is_file():
            return
        for number, text in enumerate(self.file.read_bytes().split(b"\n"), 1):
            line = read_line(text)
            if line is None:
                continue
            try:
                self._apply(line)
            except (KeyError, TypeError, ValueError) as error:
                raise StoreCorrupt(
                    f"{self.file}, line {number} is not a ledger's: restore it, or move it away (its calls are paid "
                    "again)"
                ) from error

    def _apply(self, line: JSON) -> None:
        match line["line"]:
            case "intent":
                itemgetter(*ORIGIN, "at", "price", "reserved")(line)  # a KeyError if a field is missing
                itemgetter(*REQUEST)(line["request"])
                self._calls.setdefault(line["call"], {})[int(line["attempt"])] = Attempt(line)
            case "answer":
                self._calls[line["call"]][int(line["attempt"])].answer = line
            case "restart":
                self._restarts[str(line["writer"]), str(line["split"])] = int(line["restarts"])
            case "batch":
                self.batches[line["batch"]] = line


def read_line(text: bytes) -> JSON | None:
    """A line as a dict, an answer's also if only its first step was written; None if it was cut short before that."""
    try:
        line = json.loads(text)
        return line if isinstance(line, dict) and "line" in line else None
    except (ValueError, RecursionError):
        pass
    # The first step ends with the raw answer, a string; what follows its last complete string may be torn.
    for step in (text, text[: text.rfind(b'",') + 1]):
        try:
            line = json.loads(step + b"}")
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and line.get("line") == "answer" and "raw" in line:
            return line
    return None


def _answer(call: str, attempt: int, seconds: float) -> JSON:
    return {"line": "answer", "call": call, "attempt": attempt, "at": _now(), "seconds": round(seconds, 3)}


def _json(content: Mapping[str, Any]) -> bytes:
    # ASCII: a lone surrogate in an answer cannot break the file, and no character ends a line.
    return json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
