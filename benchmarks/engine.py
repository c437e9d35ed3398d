"""What a run of a million records costs its driver: memory, and bytes of manifest and log.

    python -m benchmarks.engine --out docs/engine.json     # an hour on two cores, most of it small files

The store, the engine (two processes) and the rows are real; the model is not: an image is 64 bytes, so that a million
records fit on a disk and what is measured is the driver. Each number of records is rendered by a driver of its own, and
its peak memory is compared with that of the smallest run. Beside the libraries it may grow by at most
``BYTES_PER_RECORD``. The last line of standard output is JSON: ``records`` (records → ``images``, ``shards``,
``missing`` ones, ``peak_mb`` after rendering and ``peak_mb_finished`` after the manifest, seconds, and bytes of
manifest and log), ``bytes_per_record``, ``goal_bytes_per_record`` and ``met``. Exit code 1 if memory grows by more, or
if an image or a shard is missing.
"""

import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer

from benchmarks.memory import peak_mb
from benchmarks.result import finish, program
from ecgvf.core import concepts, console
from ecgvf.core.records import PromptPair, Rendering, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, StageSet
from ecgvf.core.store import Store
from ecgvf.engine import Description, Processes
from ecgvf.render.stage import SHARD_RECORDS, RenderOptions, finish_images

BYTES_PER_RECORD = 2048
"""Most that the driver's memory may grow by a record."""
WRITTEN_AT_ONCE = 50_000


def write_pairs(root: Path, records: int) -> None:
    """A finished pairs set of ``records`` pairs."""
    run = ConceptRun(Store(root), concepts.find("church"))
    run.store.remember(run.concept)
    pairs = run.stage_set(PAIRS, {"records": records})
    for shard, start in enumerate(range(0, records, WRITTEN_AT_ONCE)):
        numbers = range(start, min(start + WRITTEN_AT_ONCE, records))
        pairs.write_shard(shard, to_table(PromptPair, map(_pair, numbers)))
    pairs.finish({})


def _pair(number: int) -> PromptPair:
    place = f"by lake {number} under a blue sky, with trees on both sides and a small boat in front of it"
    return PromptPair(
        record_id=f"{number:016x}",
        concept="church",
        kind="object",
        split="train",
        target=f"a church {place}",
        surrogate=f"a hotel {place}",
        target_term="church",
        surrogate_term="hotel",
        writer="benchmark",
        model_asked="benchmark",
        model_answered="benchmark",
        template="benchmark",
        template_hash="0",
        iteration=0,
        call_id=f"{number:016x}",
        wording="explicit",
    )


class FakeModel:
    """Renders 64 bytes for each prompt, at once."""

    description = Description(
        {"name": "fake", "renderer": "0", "dtype": "float32", "sampling": {}, "raw_control_tokens": False},
        {"batch_size": 64, "threads": 1, "device": "none"},
    )

    def __call__(self, tasks: Any, circumstances: Any, advance: Any) -> pa.Table:
        rows = [
            Rendering(
                record_id=task.record_id,
                role=task.role,
                seed=task.seed,
                renderer="0",
                prompt_sent=task.prompt,
                image=task.seed.to_bytes(8, "little") * 8,
                vq_ids=(1, 2, 3, 4),
            )
            for task in tasks
        ]
        return to_table(Rendering, rows)


@contextmanager
def open_fake() -> Iterator[FakeModel]:
    """The setup of the workers."""
    yield FakeModel()


def drive(root: Path, records: int, send: Any) -> None:
    """Render the ``records`` records of the store at ``root``, and send what that took of this process."""
    run = ConceptRun(Store(root), concepts.find("church"))
    options, pairs, started = RenderOptions(model="fake"), run.current(PAIRS), time.monotonic()
    with Processes([{}, {}]).open({IMAGES.name: open_fake}) as pool:
        images = options.image_set(run, pairs, pool.describe(IMAGES.name).facts)
        [rendered] = pool.fill(options.fill_plan(images, pairs))
        seconds = time.monotonic() - started
    peak = peak_mb()
    started = time.monotonic()
    missing = StageSet.at(run, IMAGES, images.path).missing(math.ceil(records / SHARD_RECORDS))
    looked = time.monotonic() - started
    finish_images(images)
    send.send(
        {
            "images": rendered,
            "shards": len(images.shards()),
            "seconds": round(seconds, 1),
            "seconds_to_look_for_missing": round(looked, 1),
            "missing": len(missing),
            "peak_mb": round(peak, 1),
            "peak_mb_finished": round(peak_mb(), 1),
            **{f"{name}_bytes": (images.path / file).stat().st_size for name, file in _FILES.items()},
        }
    )


_FILES = {"manifest": "manifest.json", "log": "log.jsonl"}


def measure(folder: Path, records: int) -> dict[str, Any]:
    """What ``drive`` sends for ``records`` records, from a process of its own."""
    from benchmarks import engine as importable  # as a script, this module has another name in other processes

    context, result = multiprocessing.get_context("spawn"), dict[str, Any]()
    for target in (importable.write_pairs, importable.drive):
        received, sent = context.Pipe(duplex=False)
        extra = (sent,) if target is importable.drive else ()
        process = context.Process(target=target, args=(folder, records, *extra))
        process.start()
        sent.close()
        with suppress(EOFError):  # nothing is sent by the first target, or by a process that fails
            result = received.recv()
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"{target.__name__} failed with exit code {process.exitcode}")
    return result


def main(
    records: Annotated[
        list[int] | None, typer.Option(help="Records of a run; repeat it, for at least two numbers of records.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
) -> None:
    """Measure the driver's memory and the manifest's bytes as records grow."""
    numbers = sorted(set(records or (1_000, 10_000, 100_000, 1_000_000)))
    if len(numbers) < 2 or numbers[0] < 1:
        raise typer.BadParameter("name at least two numbers of records, of which none is below 1")
    console.json_mode()
    runs: dict[int, dict[str, Any]] = {}
    for number in numbers:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            runs[number] = measure(Path(folder) / "store", number)
        console.print(f"{number:>9} records: {runs[number]['peak_mb']} MB, {runs[number]['seconds']} s")
    few, many = numbers[0], numbers[-1]
    per_record = {
        "driver": (runs[many]["peak_mb"] - runs[few]["peak_mb"]) * 1e6 / (many - few),
        "driver_finished": (runs[many]["peak_mb_finished"] - runs[few]["peak_mb_finished"]) * 1e6 / (many - few),
        "manifest": runs[many]["manifest_bytes"] / many,
        "log": runs[many]["log_bytes"] / many,
    }
    complete = all(run["images"] == 2 * number and not run["missing"] for number, run in runs.items())
    result = {
        "records": {str(number): run for number, run in runs.items()},
        "bytes_per_record": {name: round(value, 1) for name, value in per_record.items()},
        "goal_bytes_per_record": BYTES_PER_RECORD,
        "met": complete and max(per_record["driver"], per_record["driver_finished"]) <= BYTES_PER_RECORD,
    }
    finish(result, out)


app = program(main)

if __name__ == "__main__":
    app()
