"""Kill a small form of benchmarks/nano.yaml twice, finish it, and compare its table with an undisturbed run's.

    python -m benchmarks.suite_kills --out docs/suite-kills.json     # make faults

The small form is nano.yaml with fewer concepts, recipes, seeds, pairs and prompts, without goals and the full figures;
one thread. `ear suite` runs it from an empty store, and once more in another folder, where SIGKILL ends it at two
random moments of the time that the first run took. Rows and outcomes must be equal; openings of the test split differ,
since a measurement that is killed counts as well. The last line of standard output is JSON: ``cells``, ``seconds`` of
the undisturbed run, ``killed_after`` (seconds of each run that was killed) and ``finished_before`` (cells that were
finished then), ``rows`` of the table, ``equal``, ``seed``, ``versions`` and ``met``. Exit code 1 if a row or an outcome
differs.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from benchmarks.result import finish, program
from ear.evaluation.outcomes import read_outcomes
from ecgvf.core import console
from ecgvf.core.files import JSON, read_json
from ecgvf.core.shard_set import versions

NANO = Path(__file__).with_name("nano.yaml")
SMALLER: JSON = {
    "concepts": ["church"],
    "recipes": ["on-policy", "paper"],
    "first_cell_only": [],
    "run_seeds": [0, 1],
    "training_seeds": [0, 1],
    "pairs": 10,
    "tests": 24,
    "prompts": {"concept": 12, "group": 12, "neighbour": 6},
    "figures": "default",
    "goals": None,
    "report": {},
}
"""What the small form changes."""
KILLS = 2


def main(
    seed: Annotated[int, typer.Option(help="Seed of the moments.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
) -> None:
    """Kill the small suite twice, finish it, and compare its table with an undisturbed run's."""
    console.json_mode()
    with tempfile.TemporaryDirectory() as folder:
        finish(campaign(Path(folder), random.Random(seed)) | {"seed": seed, "versions": versions()}, out)


def campaign(folder: Path, rng: random.Random) -> dict[str, Any]:
    """Run the small suite undisturbed and killed; what the last line says of both."""
    undisturbed, killed = declare(folder / "undisturbed"), declare(folder / "killed")
    started = time.monotonic()
    with console.status("running the suite undisturbed"):
        run(undisturbed)
    seconds = time.monotonic() - started
    killed_after, finished_before = [], []
    for _ in range(KILLS):
        # Both together end before the suite would.
        killed_after.append(round(rng.uniform(0, seconds / KILLS), 1))
        with console.status(f"killing the suite after {killed_after[-1]:g} s"):
            run(killed, kill_after=killed_after[-1])
        finished_before.append(len(outcomes(killed)))
    with console.status("finishing the suite"):
        run(killed)
    tables = [read_json(suite.with_suffix(".json")) for suite in (undisturbed, killed)]
    equal = outcomes(undisturbed) == outcomes(killed) and all(
        tables[0][name] == tables[1][name] for name in ("rows", "by_seed", "met")
    )
    return {
        "cells": len(outcomes(undisturbed)),
        "seconds": round(seconds),
        "killed_after": killed_after,
        "finished_before": finished_before,
        "rows": len(tables[0]["rows"]),
        "equal": equal,
        "met": equal,
    }


def declare(folder: Path) -> Path:
    """Write the small suite into ``folder``; returns its folder of results, beside which its declaration lies."""
    folder.mkdir()
    results = folder / "small"
    places = {"name": "small", "store": str(folder / "store"), "results": str(results)}
    spec = yaml.safe_load(NANO.read_text(encoding="utf-8")) | SMALLER | places
    results.with_suffix(".yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    return results


def run(results: Path, kill_after: float | None = None) -> None:
    """Run `ear suite` in the repository's folder, to which paths in nano.yaml are relative.

    SIGKILL ends it after ``kill_after`` seconds, unless that is None. Raises ``SystemExit`` if it ends otherwise.
    """
    command = [sys.executable, "-m", "ear", "suite", str(results.with_suffix(".yaml"))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=NANO.parents[1], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, log = process.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            _, log = process.communicate()
    if process.returncode != (0 if kill_after is None else -signal.SIGKILL):
        raise SystemExit(f"the suite ended with {process.returncode}:\n{log}")


def outcomes(results: Path) -> dict[str, Any]:
    """Name of each finished cell's file → its outcomes."""
    files = sorted(results.glob("*-r*-t*.parquet"))
    return {file.name: read_outcomes(file)[0] for file in files}


app = program(main)

if __name__ == "__main__":
    app()
