"""Kill each stage at random moments, run it again, and compare every byte with a run that nobody disturbed.

    python -m benchmarks.faults --kills 40 --out docs/faults.json     # make faults

The stages are those of the main job (generate, render, filter, train), over a tiny Janus with random weights and a
judge that always answers the same. A child process runs a stage, SIGKILL ends it at a moment drawn from the time that
the stage takes, a second child goes on, and what both left must be what one left alone. The last line of standard
output is the result as JSON. Exit code 1 where a byte differs.
"""

import json
import multiprocessing
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

import ear.method.train
from ear.method.erase import erase, resolve
from ear.method.recipe import find
from ecgvf.core import concepts, console
from ecgvf.core.files import write_atomic
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.filter.dataset import load_dataset
from ecgvf.janus import load
from ecgvf.judges.judge import Criterion, Prediction
from ecgvf.pairs.generate import generate
from ecgvf.render import render
from tests.random_janus import build

TIMED = {"settings.json", "manifest.json", "log.jsonl", "run.json"}
"""Files that tell when and how fast: they have to be there, and differ from run to run."""

FORK = multiprocessing.get_context("fork")  # a child that has to import nothing is killed at work


class Parity:
    """A judge with an answer for every picture, always the same, and half of them yes."""

    name = "nano-object-a"
    weights_hash = "0"
    criterion = Criterion(label_set="none", accepted=("church",))

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        return [Prediction(bool(image.sum(dtype=np.int64) % 2), 0.5, ()) for image in images]


def _generate(store: Store, model: str) -> None:
    generate(ConceptRun(store, concepts.find("church")), pairs=60, tests=16)


def _render(store: Store, model: str) -> None:
    render(store, store.concept(), model=model)


def _filter(store: Store, model: str) -> None:
    filter_images(ConceptRun.load(store), judge=Parity())


def _train(store: Store, model: str) -> None:
    ear.method.train.CHECKPOINT_SECONDS = 0.0  # or so short a training would never leave a checkpoint
    dataset = load_dataset(ConceptRun.load(store, "church"))
    recipe = find("default").changed({"rehearsed": "40", "window": "288", "learning_rate": "1e-3"})
    janus = load(model)
    erase(store, dataset, janus, resolve(recipe, dataset, janus), [0])


STAGES: Mapping[str, Callable[[Store, str], None]] = {
    "generate": _generate,
    "render": _render,
    "filter": _filter,
    "train": _train,
}


def campaign(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """``kills`` kills, shared by the stages in turn: how many there were, and how many left equal bytes."""
    model = str(build(folder / "janus"))
    rng = random.Random(seed)
    told: dict[str, dict[str, Any]] = {}
    done = folder / "nothing"
    done.mkdir()
    with console.progress("kills", kills) as bar:
        for place, stage in enumerate(STAGES):
            before, done = done, folder / f"after-{stage}"
            shutil.copytree(before, done)
            seconds = _run(stage, done, model)
            wanted, equal, spared = len(range(place, kills, len(STAGES))), 0, 0
            killed = 0
            while killed < wanted and spared <= 2 * wanted:
                store = folder / "disturbed"
                shutil.copytree(before, store)
                took = _run(stage, store, model, kill_after=rng.uniform(0, seconds))
                if took is None:
                    killed += 1
                    _run(stage, store, model)
                    equal += _bytes(store) == _bytes(done)
                    bar.advance()
                else:
                    seconds, spared = took, spared + 1  # faster than last time: it ended before the signal came
                shutil.rmtree(store)
            told[stage] = {"seconds": round(seconds, 2), "kills": killed, "equal": equal}
    total, equal = (sum(one[key] for one in told.values()) for key in ("kills", "equal"))
    return {"seed": seed, "stages": told, "kills": total, "equal": equal, "met": equal == total == kills}


def _run(stage: str, root: Path, model: str, kill_after: float | None = None) -> float | None:
    """Run a stage in a child: the seconds that it took, or None where it was killed."""
    started = time.monotonic()
    child = FORK.Process(target=_work, args=(stage, root, model))
    child.start()
    child.join(kill_after)
    if child.is_alive():
        child.kill()
        child.join()
    if child.exitcode not in (0, -signal.SIGKILL):
        raise SystemExit(f"{stage} failed with exit code {child.exitcode}")
    return time.monotonic() - started if child.exitcode == 0 else None


def _work(stage: str, root: Path, model: str) -> None:
    torch.set_num_threads(1)
    STAGES[stage](Store(root), model)


def _bytes(root: Path) -> dict[str, bytes]:
    """What must be equal: every file by name, and what it holds where that tells no time."""
    # A kill may leave the beginning of a file beside its place, under a name that nothing reads.
    files = [file for file in root.rglob("*") if file.is_file() and file.suffix != ".tmp"]
    return {str(file.relative_to(root)): b"" if file.name in TIMED else file.read_bytes() for file in files}


def main(
    kills: Annotated[int, typer.Option(min=4, help="How many, over all stages.")] = 40,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write as well.")] = None,
) -> None:
    """Kill the stages at random moments, run them again, and compare every byte."""
    console.json_mode()
    with tempfile.TemporaryDirectory() as folder:
        result = campaign(Path(folder), kills, seed)
    if out is not None:
        write_atomic(out, json.dumps(result, indent=2).encode() + b"\n")
    console.print_json(result)
    if not result["met"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
