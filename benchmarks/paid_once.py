"""The whole campaign of calls: 1,002 of them, a fifth met with faults, and 20 kills at random moments.

    python -m benchmarks.paid_once --out docs/paid-once.json     # make faults; about nine minutes

Six writers are called over real HTTP by the real SDKs, in a process that SIGKILL ends and that is started again. No
answered call may be sent again once its answer was flushed, no pair may be lost, and the amount that the server charged
must lie between the ledger's cost and that cost with its open intents. The last line of standard output is JSON:
``iterations``, ``writers``, ``requests`` that arrived, ``faults``, ``kills``, ``starts``, ``seconds``, ``answered``
calls, ``accepted`` pairs, writers that were ``set_aside``, calls ``sent_again``, ``pairs_checked`` and ``pairs_lost``
of them, ``ledger_usd``, ``charged_usd``, ``open_usd``, ``cpus``, ``versions`` and ``met``. Exit code 1 if any of this
fails, or if fewer processes were killed or no pair was there to be lost.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.result import finish, program
from ecgvf.core import console
from ecgvf.core.records import PromptPair
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import versions
from ecgvf.core.stage_set import PAIRS
from ecgvf.core.store import Store
from ecgvf.llm.ledger import Ledger, read_line
from ecgvf.llm.registry import Registry
from tests.llm_server import MALFORMED, SIX, LlmServer, Request

ITERATIONS, KILLS = 167, 20
FAULTS = (
    *("429", "429-bare", "408", "409", "500", "503", "529", "slow", "cut", "cut"),
    *("length", "truncated", "fence", "prose", "wrong-schema", "chatter", "refusal", "filter", "empty"),
    *(*MALFORMED, "drop"),
    *("duplicates", "leak", "thirty", "other-model", "html", "escapes", "jinja", "markup"),
)

# The waits of a real run, made short: nothing else differs from what a user types.
CLIENT = "import ecgvf.llm.retry as r; r.FIRST_WAIT = 0.02; from ecgvf.cli import main; main()"


def campaign(folder: Path, *, iterations: int, kills: int, seed: int = 0, share: float = 0.2) -> dict[str, Any]:
    """``iterations`` calls of each of six writers, in a store in ``folder``; the counts, and whether all is ``met``."""
    chance = random.Random(seed)
    rolled: dict[tuple[str, int], str] = {}

    def behave(request: Request) -> str:
        key = (request.model, request.number)
        if key not in rolled:
            roll = random.Random(f"{seed}/{key}")
            rolled[key] = roll.choice(FAULTS) if roll.random() < share else "fine"
        return rolled[key]

    began, signals, killed, starts = time.monotonic(), 0, 0, 0
    with LlmServer(behave).running() as server:
        arguments = ["generate", "--concept", "church", "--registry", str(server.registry(folder)), "--json"]
        arguments += ["--store", str(folder / "store"), "--writers", ",".join(SIX), "--budget-usd", "100000"]
        command = [sys.executable, "-c", CLIENT, *arguments, "--iterations", str(iterations)]
        moments = sorted(chance.sample(range(1, 6 * iterations), kills))
        while True:
            starts += 1
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                while signals < kills and process.poll() is None:
                    if len(server.requests) >= moments[signals]:
                        time.sleep(chance.random() * 0.05)
                        process.send_signal(signal.SIGKILL)
                        signals += 1
                        break
                    time.sleep(0.002)
                _, errors = process.communicate(timeout=3000)
            if process.returncode == 0:
                break
            if process.returncode != -signal.SIGKILL:
                raise RuntimeError(errors[-3000:])
            killed += 1  # by its exit code: a process may end before the signal
        verdict = _verdict(folder, server.charged)
        return {
            "iterations": iterations,
            "writers": len(SIX),
            "requests": len(server.requests),
            "faults": sum(behaviour != "fine" for behaviour in rolled.values()),
            "kills": killed,
            "starts": starts,
            "seconds": round(time.monotonic() - began, 1),
            **verdict,
            "met": verdict["met"] and killed == kills,
        }


def _verdict(folder: Path, charged: Decimal) -> dict[str, Any]:
    run = ConceptRun(Store(folder / "store"), Store(folder / "store").concept("church"))
    ledger = Ledger.load(run)
    spent = ledger.spent()
    answered: dict[str, str] = {}
    again = 0
    for text in ledger.file.read_bytes().split(b"\n"):
        line = read_line(text)
        if line is None:
            continue
        if line["line"] == "intent" and line["call"] in answered:
            again += 1
        if line["line"] == "answer" and line["status"] == 200 and _whole(line["raw"]):
            answered[line["call"]] = line["raw"]
    stage = run.current(PAIRS)
    kept: dict[str, set[str]] = {}
    for record in stage.records(PromptPair):
        kept.setdefault(record.call_id, set()).update({record.target, record.detail or ""})
    there = [
        any(target in text for text in kept.get(call, set()))
        for call, raw in answered.items()
        for target in _targets(raw)
    ]
    money = spent.cost <= charged <= spent.cost + spent.possible
    return {
        "answered": len(answered),
        "accepted": stage.summary["train"]["accepted"],
        "set_aside": stage.summary["set_aside"],
        "sent_again": again,
        "pairs_checked": len(there),
        "pairs_lost": there.count(False),
        "ledger_usd": str(spent.cost),
        "charged_usd": str(charged),
        "open_usd": str(spent.possible),
        "met": again == 0 and bool(there) and all(there) and money and not stage.summary["set_aside"],
    }


def _whole(raw: str) -> bool:
    """Whether a body is a provider's answer, found without the program's own reader."""
    try:
        body = json.loads(raw)
    except ValueError:
        return False
    return isinstance(body, dict) and not body.keys().isdisjoint(("choices", "content", "candidates", "promptFeedback"))


def _targets(raw: str) -> list[str]:
    """The first ten target prompts in an answer, found without the program's own reader."""
    try:
        text = json.dumps(json.loads(raw), ensure_ascii=False)
    except ValueError:
        return []
    found = re.findall(r'\\"target\\": \\"(A \w+ church by [^"\\]*)\\"', text)
    return found[:10] if len(found) < 30 else []


def main(out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None) -> None:
    """Send calls under faults and kills, and compare ledger, records and money."""
    console.json_mode()
    for writer in Registry().all():
        os.environ.setdefault(writer.config.key or "", "loopback")
    with tempfile.TemporaryDirectory() as folder:
        result = campaign(Path(folder), iterations=ITERATIONS, kills=KILLS)
    finish({**result, "cpus": os.cpu_count(), "versions": versions()}, out)


app = program(main)

if __name__ == "__main__":
    app()
