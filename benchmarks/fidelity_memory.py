"""Measure whether the memory of FID and KID is flat from 1,000 to 30,000 images.

    python -m benchmarks.fidelity_memory --out docs/fidelity-memory.json     # some minutes

Each number of images has a process of its own, which keeps random features of Inception's 2,048 dimensions as
``ear eval --figures paper`` does, and computes FID (without its interval) and KID from them. The peak memory with the
most images may be at most a tenth above that with the fewest. The last line of standard output is JSON: ``images``
(number → ``fid``, ``kid``, ``seconds``, ``peak_mb``), the ``ratio`` of the peaks and its ``goal``, ``dimensions``,
``seed`` and ``met``. Exit code 1 if it is more.
"""

import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer

from benchmarks.memory import compare_peaks, peak_mb
from benchmarks.result import finish, program
from ear.evaluation.fidelity import figures
from ear.evaluation.fidelity.features import FeatureSet
from ear.evaluation.fidelity.frechet import Moments, frechet_distance
from ear.evaluation.images import SHARD
from ecgvf.core.shard_set import ShardSet

DIMENSIONS = 2_048


def random_features(folder: Path, n: int, seed: int) -> FeatureSet:
    """``n`` rows of standard normal features, kept as the stage keeps them."""
    shards, rng = ShardSet(folder, {"n": n, "seed": seed}, "a benchmark"), np.random.default_rng(seed)
    for index, start in enumerate(range(0, n, SHARD)):
        rows = rng.standard_normal((min(SHARD, n - start), DIMENSIONS), dtype=np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), DIMENSIONS)
        shards.write_shard(index, pa.table({"features": column, "clip": pa.nulls(len(rows), pa.float32())}))
    shards.finish({})
    return FeatureSet(shards, n)


def measure(n: int, seed: int) -> dict[str, float]:
    """FID and KID of ``n`` random features, and what computing them took."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        images, pictures = (random_features(Path(folder) / str(index), n, seed + index) for index in range(2))
        fid = frechet_distance(*(Moments.of(each.batches()) for each in (images, pictures)))
        kid, _ = figures.kernel(images, images, pictures)
    return {
        "fid": round(fid, 2),
        "kid": round(kid.value, 6),
        "seconds": round(time.monotonic() - started, 1),
        "peak_mb": round(peak_mb(), 1),
    }


def main(
    few: Annotated[int, typer.Option(help="Images of the first process.")] = 1_000,
    many: Annotated[int, typer.Option(help="Images of the second process.")] = 30_000,
    seed: Annotated[int, typer.Option(help="Seed of the features.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
) -> None:
    """Compare the peak memory of few images and many."""
    finish({"dimensions": DIMENSIONS, **compare_peaks(measure, few, many, seed)}, out)


app = program(main)

if __name__ == "__main__":
    app()
