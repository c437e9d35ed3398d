"""Measure whether the memory of rendering is flat from 100 to 10,000 images.

    python -m benchmarks.render_memory --out docs/render-memory.json     # make render-checks; some ten minutes

`ear generate --prompts` renders a file of 100 prompts about nano's world, and then one of 10,000, each in a process of
its own. The peak memory of the second may be at most a tenth above that of the first. The last line of standard output
is JSON: ``images`` (number → ``seconds``, ``peak_mb``), the ``ratio`` of the peaks and its ``goal``, ``seed`` and
``met``. Exit code 1 if it is more.
"""

import tempfile
import time
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import typer

from benchmarks.equal_images import random_prompts
from benchmarks.memory import compare_peaks, peak_mb
from benchmarks.result import finish, program
from ear import cli


def measure(images: int, seed: int) -> dict[str, float]:
    """Render ``images`` prompts by `ear generate`; the seconds, and the peak memory of this process."""
    with tempfile.TemporaryDirectory() as folder:
        prompts, out = Path(folder) / "prompts.txt", Path(folder) / "images"
        prompts.write_text("\n".join(random_prompts(images, seed)) + "\n", encoding="utf-8")
        arguments = ["generate", "--prompts", str(prompts), "--out", str(out), "--device", "cpu"]
        started = time.monotonic()
        failed = cli.app(arguments, standalone_mode=False)
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
    finish(compare_peaks(measure, few, many, seed), out)


app = program(main)

if __name__ == "__main__":
    app()
