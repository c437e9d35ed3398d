"""Kill each stage at random moments, run it again, and compare every byte with an uninterrupted run.

    python -m benchmarks.faults --kills 10 --out docs/faults.json     # make faults

The stages are those of the main job (generate, render, filter, train), with a tiny random Janus and a deterministic
judge. A child process runs a stage until SIGKILL ends it at a random moment of the time that the stage takes; a second
child resumes, and the store must equal that of an uninterrupted run. The last line of standard output is the result as
JSON. Exit code 1 if a byte differs.
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
from ear.method.recipes import find
from ecgvf.core import concepts, console
from ecgvf.core.files import write_atomic
from ecgvf.core.records import Rendering
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.filter.dataset import load_dataset
from ecgvf.janus import load
from ecgvf.judges.judge import Criterion, Prediction
from ecgvf.pairs.generate import generate_pairs
from ecgvf.render import render
from tools.tiny_janus import build

RENDER_KILLS = 3
"""Rendering is the longest stage of a real run: it is killed this many times as often as another one."""
TIMED_FILES = {"settings.json", "manifest.json", "log.jsonl", "run.json"}
"""Files with dates and durations: they must exist, and their content may differ."""

FORK = multiprocessing.get_context("fork")  # a child that imports nothing is killed at work, not at imports


class ParityJudge:
    """A judge that sees the concept in the images whose pixels have an odd sum, about half of them."""

    name = "nano-object-a"
    weights_hash = "0"
    criterion = Criterion(label_set="none", accepted=("church",))

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        return [Prediction(bool(image.sum(dtype=np.int64) % 2), 0.5, ()) for image in images]


def _generate(run: ConceptRun, model: str, pairs: int) -> None:
    generate_pairs(run, pairs=pairs, validation=0, tests=16)


def _render(run: ConceptRun, model: str, pairs: int) -> None:
    render(run, model=model)


def _filter(run: ConceptRun, model: str, pairs: int) -> None:
    filter_images(run, judge=ParityJudge())


def _train(run: ConceptRun, model: str, pairs: int) -> None:
    ear.method.train.CHECKPOINT_SECONDS = 0.0  # or so short a training would never write a checkpoint
    dataset = load_dataset(run)
    recipe = find("default").with_options({"rehearsed": "40", "window": "288", "learning_rate": "1e-3"})
    janus = load(model)
    erase(run.store, dataset, janus, resolve(recipe, dataset, janus), [0])


STAGES: Mapping[str, Callable[[ConceptRun, str, int], None]] = {
    "generate": _generate,
    "render": _render,
    "filter": _filter,
    "train": _train,
}


def campaign(folder: Path, kills: int, pairs: int, seed: int) -> dict[str, Any]:
    """Kill each stage ``kills`` times (rendering more often), and count the kills after which the bytes are equal."""
    model = str(build(folder / "janus"))
    rng = random.Random(seed)
    stages: dict[str, dict[str, Any]] = {}
    expected = folder / "empty"
    expected.mkdir()
    due = {stage: kills * (RENDER_KILLS if stage == "render" else 1) for stage in STAGES}
    with console.progress("kills", sum(due.values())) as bar:
        for stage, stage_kills in due.items():
            before, expected = expected, folder / f"after-{stage}"
            shutil.copytree(before, expected)
            seconds = _run(stage, expected, model, pairs)
            killed = equal = missed = 0
            while killed < stage_kills and missed <= 2 * stage_kills:
                store = folder / "killed"
                shutil.copytree(before, store)
                duration = _run(stage, store, model, pairs, kill_after=rng.uniform(0, seconds))
                if duration is None:
                    killed += 1
                    _run(stage, store, model, pairs)
                    equal += _content(store) == _content(expected)
                    bar.advance()
                else:
                    seconds, missed = duration, missed + 1  # it ended before the signal came
                shutil.rmtree(store)
            stages[stage] = {"seconds": round(seconds, 2), "kills": killed, "equal": equal}
    killed, equal = (sum(counts[key] for counts in stages.values()) for key in ("kills", "equal"))
    rendered = [(row.record_id, row.role) for row in _renderings(expected)]
    return {
        "seed": seed,
        "stages": stages,
        "kills": killed,
        "equal": equal,
        "pairs": pairs,
        "rendered_twice": len(rendered) - len(set(rendered)),
        "met": equal == killed == sum(due.values()) and len(rendered) == len(set(rendered)),
    }


def _renderings(store: Path) -> list[Rendering]:
    return ConceptRun.load(Store(store)).current(IMAGES).records(Rendering)


def _run(stage: str, store: Path, model: str, pairs: int, kill_after: float | None = None) -> float | None:
    """Run a stage in a child. Returns its seconds, or None if it was killed."""
    started = time.monotonic()
    child = FORK.Process(target=_work, args=(stage, store, model, pairs))
    child.start()
    child.join(kill_after)
    if child.is_alive():
        child.kill()
        child.join()
    if child.exitcode not in (0, -signal.SIGKILL):
        raise SystemExit(f"{stage} failed with exit code {child.exitcode}")
    return time.monotonic() - started if child.exitcode == 0 else None


def _work(stage: str, store: Path, model: str, pairs: int) -> None:
    torch.set_num_threads(1)
    STAGES[stage](ConceptRun(Store(store), concepts.find("church")), model, pairs)


def _content(store: Path) -> dict[str, bytes]:
    """What must be equal: the name of every file, and the bytes of those without dates and durations."""
    # A kill may leave the beginning of a file under a temporary name, which nothing reads.
    files = [file for file in store.rglob("*") if file.is_file() and file.suffix != ".tmp"]
    return {str(file.relative_to(store)): b"" if file.name in TIMED_FILES else file.read_bytes() for file in files}


def main(
    kills: Annotated[int, typer.Option(min=1, help="Kills of each stage; rendering gets three times as many.")] = 10,
    pairs: Annotated[int, typer.Option(min=10, help="Pairs that are generated and rendered.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the moments.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
) -> None:
    """Kill the stages at random moments, run them again, and compare every byte."""
    console.json_mode()
    with tempfile.TemporaryDirectory() as folder:
        result = campaign(Path(folder), kills, pairs, seed)
    if out is not None:
        write_atomic(out, json.dumps(result, indent=2).encode() + b"\n")
    console.print_json(result)
    if not result["met"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
