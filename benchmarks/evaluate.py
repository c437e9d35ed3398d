"""How long `ear eval` takes on Janus-nano, from the command to the table.

    python -m benchmarks.evaluate

The default figures of church, on validation, of an adapter by `paper` (whose training is not counted). Each run begins
with a store that has no image. The last line of standard output is JSON: ``command``, ``versions``, ``cpus``,
``images``, ``seconds`` of each run, ``goal_seconds`` and ``met``. Exit code 1 if the slowest run misses the goal.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.result import finish, program
from ecgvf.core.shard_set import versions

GOAL = 90.0
"""Seconds."""
COMMAND = "ear eval --dataset ecgvf/church"


def main(
    runs: Annotated[int, typer.Option(min=1, help="Evaluations, each from the beginning.")] = 3,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
) -> None:
    """Train once, and time evaluations: about ten minutes on two cores."""
    with tempfile.TemporaryDirectory() as folder:
        trained = Path(folder) / "trained"
        ear("train", "--dataset", "ecgvf/church", "--recipe", "paper", "--store", str(trained))
        seconds, images = [], 0
        for run in range(runs):
            store = Path(folder) / f"run-{run}"
            shutil.copytree(trained, store)
            started = time.monotonic()
            evaluation = json.loads(ear(*COMMAND.split()[1:], "--store", str(store), "--json"))
            seconds.append(round(time.monotonic() - started, 1))
            images = rendered(store)
            typer.echo(f"{evaluation['recipe']}, {images} images: {seconds[-1]} s")
    facts = {"command": COMMAND, "versions": versions(), "cpus": os.cpu_count(), "images": images}
    finish({**facts, "seconds": seconds, "goal_seconds": GOAL, "met": max(seconds) < GOAL}, out)


def ear(*words: str) -> str:
    """The standard output of an `ear` command."""
    return subprocess.run([sys.executable, "-m", "ear", *words], check=True, text=True, stdout=subprocess.PIPE).stdout


def rendered(store: Path) -> int:
    """The number of evaluation images in ``store``."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(shard).num_rows for shard in store.glob("church/evaluation/*/*.parquet"))


app = program(main)

if __name__ == "__main__":
    app()
