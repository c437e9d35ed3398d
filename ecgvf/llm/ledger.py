"""Paid once: every LLM call in an append-only file, ``STORE/<concept>/ledger.jsonl``.

An attempt at a call is two lines. The *intent* is on the disk before the request is sent; the *answer* is on the disk
before anything reads it. So a call that was cut off in between is known, counts as possibly paid, and is made again,
and a call whose answer is there is never made again. A body with status 200 that is not the provider's JSON is no
answer: its line is kept, marked as ``lost``.

    {"line": "intent", "call": …, "attempt": 1, "writer": …, "model": …, "request": {…}, "reserved": "0.16", …}
    {"line": "answer", "call": …, "attempt": 1, "status": 200, "seconds": 2.1, "raw": "…", "usage": {…}, "cost": "0.01"}

The answer's line is written in two strokes, each flushed: up to ``raw``, and then what was read in it. A kill between
the strokes leaves an answer all the same. A line cut short anywhere else is no line.

Nothing here is a secret: keys are not part of a request, and are scrubbed from what providers send back. A key that is
too short or too simple to be a secret is not: it may be a word of a prompt.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ecgvf.core.errors import StoreCorrupt, StoreError
from ecgvf.core.files import disk_errors, sync_folder
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS
from ecgvf.llm.clients import Call, Failed, Reply, Usage, read
from ecgvf.llm.registry import scrub

JSON = dict[str, Any]


@dataclass(slots=True)
class Attempt:
    """One sending of a call: its intent and, where it is there, its answer."""

    intent: JSON
    answer: JSON | None = None

    @property
    def answered(self) -> bool:
        """Whether the provider answered: with status 200 and in its own format, whatever the answer is worth."""
        if self.answer is None or self.answer.get("status") != 200 or self.answer.get("lost"):
            return False
        # Without a cost it may be a body in any format, whose line a kill cut short before the mark.
        return self.answer.get("cost") is not None or self.reply.outcome != "unreadable"

    @property
    def open(self) -> bool:
        """Whether nobody knows what it was charged: no answer of any kind came to the disk, or one without usage."""
        if self.answer is None or self.answer.get("lost"):
            return True
        return self.answer.get("status") == 200 and self.answer.get("cost") is None and self.usage is None

    @property
    def raw(self) -> str:
        """The provider's answer as it came; empty where there is none."""
        return str(self.answer.get("raw", "")) if self.answer else ""

    @property
    def reply(self) -> Reply:
        """What is in the provider's answer."""
        return read(self.intent["sdk"], self.raw)

    @property
    def rates(self) -> tuple[Decimal, Decimal]:
        """US dollars per million tokens, in and out, as they were counted."""
        return Decimal(self.intent["price"]["input"]), Decimal(self.intent["price"]["output"])

    @property
    def reserved(self) -> Decimal:
        """What it can have cost at most."""
        return Decimal(self.intent["reserved"])

    @property
    def usage(self) -> Usage | None:
        """What the answer says of its tokens; None where it does not."""
        return self.reply.usage if self.answered else None

    @property
    def cost(self) -> Decimal:
        """What it cost for certain: what its usage says for an answer; 0 for a failure, and without usage."""
        if not self.answered or self.answer is None:
            return Decimal(0)
        if self.answer.get("cost") is None:  # killed between the strokes
            cost = charge(self.rates, self.usage)
            return Decimal(0) if cost is None else cost
        return Decimal(self.answer["cost"])


@dataclass(slots=True)
class Spent:
    """Money of a number of attempts, in US dollars."""

    cost: Decimal = Decimal(0)
    """Answered, and so charged."""
    open: Decimal = Decimal(0)
    """Sent without an answer on the disk: charged at most."""
    tokens: Usage = field(default_factory=lambda: Usage(0, 0))

    @property
    def total(self) -> Decimal:
        return self.cost + self.open


def charge(rates: tuple[Decimal, Decimal], usage: Usage | None) -> Decimal | None:
    """US dollars, exact; None where the usage is not known."""
    if usage is None:
        return None
    return (rates[0] * usage.input_tokens + rates[1] * usage.output_tokens) / 1_000_000


class Ledger:
    """The calls about one concept. Reading needs nothing; writing needs ``writing()`` around it.

    Raises ``StoreCorrupt`` for a file that is not a ledger.
    """

    def __init__(self, file: Path, hidden: Mapping[str, str] | None = None) -> None:
        self.file = file
        self._hidden = dict(hidden or {})
        self._handle: int | None = None
        self._calls: dict[str, dict[int, Attempt]] = {}
        self._rounds: dict[tuple[str, str], int] = {}
        self.batches: dict[str, JSON] = {}
        """Batch id → its line."""
        self._load()

    @staticmethod
    def of(run: ConceptRun) -> Path:
        """Where the ledger of a run is."""
        return run.folder(PAIRS).parent / "ledger.jsonl"

    # Prediction

    def attempts(self) -> Iterator[Attempt]:
        """Every attempt, in the order of the intents' calls."""
        for attempts in self._calls.values():
            yield from attempts.values()

    def round(self, writer: str, split: str) -> int:
        """How often ``--fresh`` asked ``writer`` for this split anew; another writer's answers count on."""
        return self._rounds.get((writer, split), 0)

    def answered(self, call: str) -> Attempt | None:
        """The last answered attempt at a call, or None."""
        found = [attempt for attempt in self._calls.get(call, {}).values() if attempt.answered]
        return found[-1] if found else None

    def in_a_batch(self, attempt: Attempt) -> bool:
        """Whether an attempt was handed over with a batch whose id is known."""
        call, number = attempt.intent["call"], int(attempt.intent["attempt"])
        return any(line["calls"].get(call) == number for line in self.batches.values())

    def of_call(self, call: str) -> list[Attempt]:
        """The attempts at one call."""
        return list(self._calls.get(call, {}).values())

    def spent(self, counts: Callable[[JSON], bool] = lambda _: True) -> Spent:
        """The money of the attempts whose intent ``counts``."""
        spent = Spent()
        for attempt in self.attempts():
            if not counts(attempt.intent):
                continue
            spent.cost += attempt.cost
            spent.open += attempt.reserved if attempt.open else 0
            if used := attempt.usage:
                spent.tokens = Usage(
                    spent.tokens.input_tokens + used.input_tokens, spent.tokens.output_tokens + used.output_tokens
                )
        return spent

    # Writing

    @contextmanager
    def writing(self) -> Iterator["Ledger"]:
        """Hold the file open and for this process alone: two runs at once would pay twice. Raises ``StoreError``."""
        with disk_errors(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StoreError(
                    f"another run is asking writers for {self.file.parent}: wait for it, or use another --store"
                ) from error
            sync_folder(self.file.parent)  # or a power cut may take a new file with all that was paid
            self._calls, self.batches, self._rounds = {}, {}, {}
            self._load()  # what another run wrote before the lock was ours
            size = os.fstat(self._handle).st_size
            if size and os.pread(self._handle, 1, size - 1) != b"\n":
                self._append(b"\n")  # a line that a kill cut short must not swallow the next
            yield self
        finally:
            os.close(self._handle)
            self._handle = None

    def fresh(self, writers: Iterable[str], split: str) -> None:
        """Open a new round of each of these writers, in which none of its earlier answers to this split counts."""
        for writer in writers:
            number = self.round(writer, split) + 1
            line = {"line": "round", "writer": writer, "split": split, "round": number, "at": _now()}
            self._append(_json(line) + b"\n")
            self._rounds[writer, split] = number

    def intend(self, call: Call, rates: tuple[Decimal, Decimal], reserved: Decimal, **more: Any) -> int:
        """Write that ``call`` is about to be sent, costing at most ``reserved``. The number of the attempt, from 1."""
        attempts = self._calls.setdefault(call.hash, {})
        number = max(attempts, default=0) + 1
        intent = {
            "line": "intent",
            "call": call.hash,
            "attempt": number,
            "at": _now(),
            **call.place(),
            "price": {"input": str(rates[0]), "output": str(rates[1])},
            "reserved": str(reserved),
            **more,
            "request": call.request(),
        }
        self._append(_json(intent) + b"\n")
        attempts[number] = Attempt(intent)
        return number

    def answer(self, call: str, attempt: int, raw: str, seconds: float) -> Attempt:
        """Write an answer as it came, flush it, and only then read in it what it cost and who answered.

        The attempt is not ``answered`` where that is no answer in the provider's format.
        """
        found = self._calls[call][attempt]
        line = {
            "line": "answer",
            "call": call,
            "attempt": attempt,
            "at": _now(),
            "seconds": round(seconds, 3),
            "status": 200,
            "raw": (clean := self.clean(raw)),
        }
        self._append(_json(line)[:-1])
        reply = read(found.intent["sdk"], clean)
        usage = reply.usage
        cost = charge(found.rates, usage)
        metered = {
            "usage": None if usage is None else {"input": usage.input_tokens, "output": usage.output_tokens},
            "cost": None if cost is None else str(cost),
            "asked": found.intent["model"],
            "answered": reply.model,
            **({"lost": True} if reply.outcome == "unreadable" else {}),
        }
        self._append(b"," + _json(metered)[1:] + b"\n")
        found.answer = {**line, **metered}
        return found

    def failure(self, call: str, attempt: int, failed: Failed, seconds: float) -> None:
        """Write that an attempt failed: its status and words, and whether it may have been charged all the same."""
        line = {
            "line": "answer",
            "call": call,
            "attempt": attempt,
            "at": _now(),
            "seconds": round(seconds, 3),
            "status": failed.status,
            "error": self.clean(str(failed)),
            "lost": failed.lost,
            "raw": self.clean(failed.raw),
            "usage": None,
            "cost": None if failed.lost else "0",
        }
        self._append(_json(line) + b"\n")
        self._calls[call][attempt].answer = line

    def batch(self, batch: str, writer: str, calls: Mapping[str, int]) -> None:
        """Write that ``calls`` (hash → attempt) were handed over together as ``batch``."""
        line = {"line": "batch", "batch": batch, "writer": writer, "at": _now(), "calls": dict(calls)}
        self._append(_json(line) + b"\n")
        self.batches[batch] = line

    def clean(self, text: str) -> str:
        """``text`` from a provider without the keys, as it may be kept or shown."""
        return scrub(text, self._hidden)

    # Inside

    def _append(self, data: bytes) -> None:
        if self._handle is None:
            raise StoreError(f"{self.file} is not open for writing")
        with disk_errors(self.file):
            view = memoryview(data)
            while view:
                view = view[os.write(self._handle, view) :]
            os.fsync(self._handle)

    def _load(self) -> None:
        if not self.file.is_file():
            return
        for number, text in enumerate(self.file.read_bytes().split(b"\n"), 1):
            line = read_line(text)
            if line is None:
                continue
            try:
                self._take(line)
            except (KeyError, TypeError, ValueError) as error:
                raise StoreCorrupt(
                    f"{self.file}, line {number} is no ledger's: restore it, or move it away (its calls are paid again)"
                ) from error

    def _take(self, line: JSON) -> None:
        match line["line"]:
            case "intent":
                self._calls.setdefault(line["call"], {})[int(line["attempt"])] = Attempt(line)
            case "answer":
                self._calls[line["call"]][int(line["attempt"])].answer = line
            case "round":
                self._rounds[str(line["writer"]), str(line["split"])] = int(line["round"])
            case "batch":
                self.batches[line["batch"]] = line


def read_line(text: bytes) -> JSON | None:
    """One line as it is, or an answer's as its first stroke left it; None where it was cut short before that."""
    try:
        line = json.loads(text)
        return line if isinstance(line, dict) and "line" in line else None
    except (ValueError, RecursionError):
        pass
    # The first stroke ends with the raw answer, a string; what follows its last whole string may be torn.
    for stroke in (text, text[: text.rfind(b'",') + 1]):
        try:
            line = json.loads(stroke + b"}")
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and line.get("line") == "answer" and "raw" in line:
            return line
    return None


def _json(content: Mapping[str, Any]) -> bytes:
    # ASCII: a lone surrogate in an answer cannot break the file, and no character ends a line.
    return json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
