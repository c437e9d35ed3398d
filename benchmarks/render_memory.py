"""Measure whether the memory of rendering is flat from 100 to 10,000 images.

    python -m benchmarks.render_memory --out docs/render-memory.json     # make render-checks; some ten minutes

`ear generate --prompts` renders a file of 100 prompts about nano's world, and then one of 10,000, each in a process of
its own. The peak memory of the second may be at most a tenth above that of the first. The last line of standard output
is JSON: ``images`` (number → ``seconds``, ``peak_mb``), the ``ratio`` of the peaks and its ``goal``, ``seed`` and
``met``. Exit code 1 if it is more.
"""

import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer

from benchmarks.equal_images import random_prompts
from benchmarks.memory import peak_mb
from benchmarks.result import finish
from ear.cli import app

GOAL = 1.1


def render(folder: Path, images: int, seed: int) -> dict[str, Any]:
    """Render ``images`` prompts into ``folder`` by `ear generate`; the seconds, and the peak memory of this process."""
    prompts, out = folder / f"{images}.txt", folder / str(images)
    prompts.write_text("\n".join(random_prompts(images, seed)) + "\n", encoding="utf-8")
    arguments = ["generate", "--prompts", str(prompts), "--out", str(out), "--device", "cpu"]
    started = time.monotonic()
    failed = app(arguments, standalone_mode=False)
    seconds, peak = time.monotonic() - started, peak_mb()
    rows = None if failed else pq.read_table(out / "index.parquet")
    if rows is None or rows.num_rows != images or rows["failure"].null_count != images:
        raise RuntimeError(f"ear {' '.join(arguments)} failed")
    return {"seconds": round(seconds, 1), "peak_mb": round(peak, 1)}


def main(
    few: Annotated[int, typer.Option(help="Images of the first process.")] = 100,
    many: Annotated[int, typer.Option(help="Images of the second process.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the prompts.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
) -> None:
    """Compare the peak memory of rendering few images and many."""
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for images in (few, many):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                runs[images] = process.submit(render, Path(folder), images, seed).result()
    ratio = runs[many]["peak_mb"] / runs[few]["peak_mb"]
    result = {
        "images": {str(images): run for images, run in runs.items()},
        "ratio": round(ratio, 3),
        "goal": GOAL,
        "seed": seed,
        "met": ratio <= GOAL,
    }
    for images, run in runs.items():
        print(f"{images:>6} images: {run['peak_mb']:.0f} MB at most, {run['seconds']:.0f} s")
    finish(result, out)


if __name__ == "__main__":
    typer.run(main)
