"""Render a file of prompts with one model into a folder of PNG files, which other tools can read.

FOLDER/
  index.parquet        written last: a row per prompt, in the order of the file (``SCHEMA``)
  images/00001.png     named by the prompt's row: an id from a file never becomes a path; written before its shard
  shards/              the rows so far (ecgvf/core/shard_set.py), from which an interrupted run resumes

The images are files, not a report: those of an unsafe concept are not blurred.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ear.method.open_adapter import files_hash, open_adapter
from ecgvf.core import console
from ecgvf.core.changes import changes
from ecgvf.core.errors import SettingsError, StoreCorrupt
from ecgvf.core.files import JSON, read_json, write_atomic
from ecgvf.core.shard_set import ShardSet, fingerprint
from ecgvf.engine import Engine, ThisProcess, local_engine
from ecgvf.janus import JanusModel, Sampling, absolute_name, load
from ecgvf.pairs.tables import read_table
from ecgvf.render import ImageWorker, RenderedImage, image_fill_plan

COMMAND = "ear generate --prompts"
INDEX, IMAGES, SHARDS = "index.parquet", "images", "shards"
HEADER = "settings.json"
"""The first file of a run, among its shards."""
PNG = "png"
"""Column of the PNG files in the tables that workers return; it is not part of the index."""
SHARD = 64
"""Prompts per shard, whose images are in memory at the same time."""
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("image", pa.string()),
        pa.field("failure", pa.string()),
    ]
)
"""``image`` is the PNG's path in the folder, null if the prompt failed; then ``failure`` is the reason."""


@dataclass(frozen=True, slots=True)
class PromptTask:
    """A prompt to render."""

    id: str
    """As in the file; the number of its row, from 00001, if the file has no ids."""
    prompt: str
    seed: int
    image: str
    """Path of its PNG, relative to the folder."""


@dataclass(frozen=True, slots=True)
class PromptImages:
    """A finished folder."""

    path: Path
    images: int
    failed: int
    """Number of prompts that could not be rendered."""
    new: int
    """Prompts that this call rendered, including failed prompts; 0 if the folder was finished."""

    @property
    def index(self) -> Path:
        """The table of its images (``SCHEMA``)."""
        return self.path / INDEX


def read_prompts(file: Path, *, seed: int = 0, columns: Sequence[str] = ()) -> list[PromptTask]:
    """The prompts of a text, CSV, TSV, JSON, JSONL or Parquet file, with its ids and seeds.

    ``columns`` as in ``ecgvf.pairs.tables.read_table``. A row without a seed has ``seed`` + its index. Ids that are
    missing or not unique are replaced by row numbers, all of them. Raises ``DatasetError``, and ``SettingsError`` for
    a seed out of range.
    """
    rows = read_table(file, columns).rows
    if not 0 <= seed <= 2**63 - len(rows):
        raise SettingsError(f"--seed is {seed}: it must be 0 or more, and every prompt's seed below 2**63")
    width = max(5, len(str(len(rows))))
    numbers = [f"{row.number:0{width}d}" for row in rows]
    ids = [row.id for row in rows if row.id is not None]
    if len(set(ids)) < len(rows):
        if ids:
            console.note(f"the ids in {file} are not unique or not complete: using row numbers instead")
        ids = numbers
    return [
        PromptTask(id, row.target, seed + index if row.seed is None else row.seed, f"{IMAGES}/{number}.png")
        for index, (id, row, number) in enumerate(zip(ids, rows, numbers, strict=True))
    ]


def render_to_folder(
    model: JanusModel | str,
    prompts: Sequence[PromptTask],
    folder: Path,
    *,
    adapters: Sequence[Path] = (),
    guidance: float | None = None,
    temperature: float | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    raw_control_tokens: bool = False,
    engine: Engine | None = None,
) -> PromptImages:
    """Render ``prompts`` into ``folder`` with the stacked ``adapters``, or without any with the frozen model.

    ``model`` is a name, a folder or a Hub id, which the workers load; or a loaded model, which renders in this process
    and ignores ``device``, ``dtype`` and ``raw_control_tokens``. ``engine`` None: ``local_engine(device)``.
    ``guidance`` and ``temperature`` None: the adapter's, or the model's own without an adapter. A prompt that cannot be
    rendered becomes a row with its failure. An interrupted folder is completed, with the bytes of an uninterrupted
    run; a finished folder is left as it is.

    Raises ``AdapterError``, ``EngineError``, ``SettingsError`` for a folder with images of other settings or, before
    any image, with other files, and ``StoreCorrupt`` for an image that is gone.
    """
    if batch_size is not None and batch_size < 1:
        raise SettingsError(f"--batch-size {batch_size}: it must be at least 1")
    _check_folder(folder)
    loading = {"device": device, "dtype": dtype, "raw_control_tokens": raw_control_tokens}
    source = model if isinstance(model, JanusModel) else absolute_name(model)
    setup = partial(_open_worker, source, loading, [file.absolute() for file in adapters], guidance, temperature)
    if isinstance(model, JanusModel):
        engine = ThisProcess()
    with (engine or local_engine(device)).open({SHARDS: setup}) as pool:
        facts = pool.describe(SHARDS).facts
        shard_set = _open(folder, _settings(prompts, facts), facts["name"])
        shards = [prompts[start : start + SHARD] for start in range(0, len(prompts), SHARD)]
        plan = image_fill_plan(
            SHARDS,
            shard_set,
            lambda index: shards[index],
            [len(shard) for shard in shards],
            description="rendering with the adapter" if adapters else "rendering without an adapter",
            batch_size=batch_size,
        )
        [new] = pool.fill(plan)
    failed = _write_index(shard_set, folder)
    _delete_temporaries(folder)
    shard_set.finish({"pictures": len(prompts), "failed": failed})
    return PromptImages(folder, len(prompts) - failed, failed, new)


@contextmanager
def _open_worker(
    model: JanusModel | str,
    loading: Mapping[str, Any],
    adapters: Sequence[Path],
    guidance: float | None,
    temperature: float | None,
) -> Iterator[ImageWorker]:
    janus = model if isinstance(model, JanusModel) else load(model, **loading)
    adapter = open_adapter(janus, adapters) if adapters else None
    sampling = Sampling(**adapter.facts["sampling"]) if adapter is not None else janus.sampling
    facts = {"adapters": [files_hash([file]) for file in adapters]}
    with adapter.active(janus) if adapter is not None else nullcontext(janus) as tuned:
        yield ImageWorker(tuned, sampling.override(guidance, temperature), _table, facts)


def _settings(prompts: Sequence[PromptTask], facts: JSON) -> JSON:
    return {
        "prompts": fingerprint({"prompts": [task.prompt for task in prompts]}),
        "ids": fingerprint({"ids": [task.id for task in prompts]}),
        "seeds": fingerprint({"seeds": [task.seed for task in prompts]}),
        "model": facts["renderer"],
        "dtype": facts["dtype"],
        "sampling": facts["sampling"],
        "adapters": facts["adapters"],
        "raw_control_tokens": facts["raw_control_tokens"],
        "shard": SHARD,
    }


class _FolderShards(ShardSet):
    """The shards of a folder; their images are files of their own."""

    def write_shard(self, index: int, table: pa.Table) -> None:
        """Write the PNG files of a shard, then its rows, which are thus never there before the files."""
        images = [row for row in table.select(["image", PNG]).to_pylist() if row["image"] is not None]
        with ThreadPoolExecutor(max_workers=8) as writers:  # each file waits for the disk
            list(writers.map(lambda row: write_atomic(self.path.parent / row["image"], row[PNG]), images))
        super().write_shard(index, table.drop_columns(PNG))


def _check_folder(folder: Path) -> None:
    """Raise ``SettingsError`` for a file, and for a folder with files that are not of a run."""
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"--out {folder} is a file: name a folder")
    if (folder / SHARDS / HEADER).is_file():
        return
    # That is the first file of a run: without it, these are somebody else's.
    files = sorted(file for name in ("*", f"{IMAGES}/*", f"{SHARDS}/*") for file in folder.glob(name))
    own = {file for file in (folder / IMAGES, folder / SHARDS) if file.is_dir()}
    hidden = {file for file in files if file.name.startswith(".") or file.name == "lost+found"}  # the system's
    if foreign := [file for file in files if file not in own | hidden and file.suffix != ".tmp"]:
        raise SettingsError(f"--out {folder} has other files, such as {foreign[0].name}: name a new folder")


def _open(folder: Path, settings: JSON, model: str) -> ShardSet:
    """The shards in ``folder``. Raises ``SettingsError`` if they are of other settings."""
    header = folder / SHARDS / HEADER
    differences = changes(read_json(header).get("settings", {}), settings) if header.is_file() else ()
    if differences:
        listed = ", ".join(f"{key}: {old} → {new}" for key, old, new in differences)
        raise SettingsError(f"{folder} has images of other settings ({listed}): choose another --out")
    return _FolderShards(folder / SHARDS, settings, COMMAND, {"model": model})


def _table(_: JanusModel, tasks: Sequence[PromptTask], images: Sequence[RenderedImage]) -> pa.Table:
    """The rows of a shard, with the PNG files."""
    columns = {
        "id": [task.id for task in tasks],
        "prompt": [task.prompt for task in tasks],
        "seed": [task.seed for task in tasks],
        "image": [task.image if image.failure is None else None for task, image in zip(tasks, images, strict=True)],
        "failure": [image.failure for image in images],
        PNG: [image.image for image in images],
    }
    return pa.table(columns, schema=SCHEMA.append(pa.field(PNG, pa.binary())))


def _write_index(shard_set: ShardSet, folder: Path) -> int:
    """Write the rows of all shards as one file, if they are not finished; returns how many prompts failed.

    Raises ``StoreCorrupt`` if a row's image is gone.
    """
    failed, sink = 0, pa.BufferOutputStream()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
        for table in shard_set.tables():
            for image in table["image"].drop_null().to_pylist():
                if not (folder / image).is_file():
                    raise StoreCorrupt(f"{folder / image} is missing: restore it, or delete {folder} and run again")
            failed += table["failure"].length() - table["failure"].null_count
            writer.write_table(table)
    index = folder / INDEX
    if not (shard_set.finished and index.is_file()):
        write_atomic(index, sink.getvalue().to_pybytes())
    return failed


def _delete_temporaries(folder: Path) -> None:
    """Delete what a kill left half-written."""
    for pattern in (f"{INDEX}.*.tmp", f"{IMAGES}/*.png.*.tmp"):
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)
