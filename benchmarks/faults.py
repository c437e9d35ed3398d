"""Kill each stage at random moments, run it again, and compare every byte with an uninterrupted run.

    python -m benchmarks.faults --kills 10 --out docs/faults.json     # make faults

The stages are those of the main job (generate, render, filter, train), with a tiny random Janus and a deterministic
judge. A child process runs a stage until SIGKILL ends it at a random moment of the time that the stage takes; a second
child resumes, and the store must equal that of an uninterrupted run. Rendering is also done by two processes, of which
one is killed: the run must end by itself. The last line of standard output is JSON: ``stages`` (stage → ``seconds`` of
an uninterrupted run, ``kills``, and after how many of them all bytes were ``equal``), ``kills`` and ``equal`` of all
stages, ``pairs``, ``seed``, ``versions`` and ``met``. Exit code 1 if a byte differs.
"""

import multiprocessing
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import matplotlib.backends.backend_svg  # noqa: F401  which a training imports to draw its losses
import numpy as np
import psutil
import torch
import typer
from numpy.typing import NDArray

import ear.method.train
from benchmarks.result import finish, program
from ear.method.erase import erase
from ear.method.recipes import find
from ecgvf.core import concepts, console
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import versions
from ecgvf.core.store import Store
from ecgvf.engine import Processes
from ecgvf.filter import filter_images
from ecgvf.filter.dataset import load_dataset
from ecgvf.janus import load
from ecgvf.judges.judge import Criterion, Prediction
from ecgvf.pairs.generate import generate_pairs
from ecgvf.render import RenderOptions, render
from tools.tiny_janus import build

RENDER_KILLS = 3
"""Rendering is the longest stage of a real run: it is killed this many times as often as another one."""
MISSES = 10
"""How often, for each kill, a stage may end before its signal comes: a short stage does, on a busy machine."""
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
    render(run, RenderOptions(model=model))


def _render_in_processes(run: ConceptRun, model: str, pairs: int) -> None:
    render(run, RenderOptions(model=model), engine=Processes([{"OMP_NUM_THREADS": "1"}] * 2))


def _filter(run: ConceptRun, model: str, pairs: int) -> None:
    filter_images(run, judge=ParityJudge())


def _train(run: ConceptRun, model: str, pairs: int) -> None:
    ear.method.train.CHECKPOINT_SECONDS = 0.0  # or so short a training would never write a checkpoint
    dataset = load_dataset(run)
    recipe = find("default").with_options({"passes": "4", "rehearsed": "16", "window": "288", "learning_rate": "1e-3"})
    janus = load(model)
    erase(run.store, [dataset], janus, recipe, [0])


Stage = Callable[[ConceptRun, str, int], None]
STAGES: Mapping[str, Stage] = {
    "generate": _generate,
    "render": _render,
    "filter": _filter,
    "train": _train,
}


def campaign(folder: Path, kills: int, pairs: int, seed: int) -> dict[str, Any]:
    """Kill each stage ``kills`` times (rendering more often), and count the kills after which the bytes are equal."""
    model = str(build(folder / "janus"))
    rng = random.Random(seed)
    due = kills * (len(STAGES) + RENDER_KILLS)
    with console.progress("kills", due) as bar:
        stages = kill_stages(folder, kills, model, pairs, rng, bar)
        stages["render's worker"] = _kill_workers(folder, kills, model, pairs, rng, bar)
    killed, equal = (sum(counts[key] for counts in stages.values()) for key in ("kills", "equal"))
    return {
        "seed": seed,
        "stages": stages,
        "kills": killed,
        "equal": equal,
        "pairs": pairs,
        "versions": versions(),
        "met": equal == killed == due,
    }


def kill_stages(
    folder: Path, kills: int, model: str, pairs: int, rng: random.Random, bar: console.Bar
) -> dict[str, dict[str, Any]]:
    """As ``campaign``, of the stages in a single process; leaves in ``folder`` what each stage writes undisturbed."""
    stages: dict[str, dict[str, Any]] = {}
    expected = folder / "empty"
    expected.mkdir()
    for stage, run in STAGES.items():
        stage_kills = kills * (RENDER_KILLS if stage == "render" else 1)
        before, expected = expected, folder / f"after-{stage}"
        shutil.copytree(before, expected)
        seconds, _ = _run(run, expected, model, pairs)
        killed = equal = missed = 0
        while killed < stage_kills and missed <= MISSES * stage_kills:
            store = folder / "killed"
            shutil.copytree(before, store)
            duration, was_killed = _run(run, store, model, pairs, kill_after=rng.uniform(0, seconds))
            if was_killed:
                killed += 1
                _run(run, store, model, pairs)
                equal += _content(store) == _content(expected)
                bar.advance()
            else:
                seconds, missed = duration, missed + 1  # it ended before the signal came
            shutil.rmtree(store)
        stages[stage] = {"seconds": round(seconds, 2), "kills": killed, "equal": equal}
    return stages


def _kill_workers(
    folder: Path, kills: int, model: str, pairs: int, rng: random.Random, bar: console.Bar
) -> dict[str, Any]:
    """Render in two processes and kill one of them at a random moment of the time that they take."""
    before, expected, store = folder / "after-generate", folder / "after-render", folder / "killed"
    shutil.copytree(before, store)
    seconds, _ = _run(_render_in_processes, store, model, pairs)
    killed = equal = missed = 0
    while killed < kills and missed <= MISSES * kills:
        shutil.rmtree(store)
        shutil.copytree(before, store)
        driver = _start(_render_in_processes, store, model, pairs)
        driver.join(rng.uniform(0, seconds))
        workers = psutil.Process(driver.pid).children() if driver.is_alive() else []
        if workers:
            rng.choice(workers).kill()
        driver.join()
        if workers:
            killed += 1
            equal += driver.exitcode == 0 and _content(store) == _content(expected)
            bar.advance()
        else:
            missed += 1  # they had not started, or had ended
    shutil.rmtree(store)
    return {"seconds": round(seconds, 2), "kills": killed, "equal": equal}


def _run(stage: Stage, store: Path, model: str, pairs: int, kill_after: float | None = None) -> tuple[float, bool]:
    """Run a stage in a child. Returns its seconds, and whether it was killed."""
    started = time.monotonic()
    child = _start(stage, store, model, pairs)
    child.join(kill_after)
    if child.is_alive():
        child.kill()
        child.join()
    killed = kill_after is not None and child.exitcode == -signal.SIGKILL
    if child.exitcode and not killed:
        raise SystemExit(f"{stage.__name__} failed with exit code {child.exitcode}")
    return time.monotonic() - started, killed


def _start(stage: Stage, store: Path, model: str, pairs: int) -> multiprocessing.process.BaseProcess:
    child = FORK.Process(target=_work, args=(stage, store, model, pairs))
    child.start()
    return child


def _work(stage: Stage, store: Path, model: str, pairs: int) -> None:
    torch.set_num_threads(1)
    stage(ConceptRun(Store(store), concepts.find("church")), model, pairs)


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
    finish(result, out)


app = program(main)

if __name__ == "__main__":
    app()
