"""A run as a folder: Parquet files that ``datasets`` loads by themselves, a card, and what made them.

    OUT/
      README.md                     the card
      ecgvf.json                    facts of the run, read by `ecgvf diff` and the next push
      croissant.json                the same dataset in ML Croissant
      assets/church.png             a contact sheet
      church/train-00000-of-00001.parquet   accepted pairs; test-… accepted test prompts
      church-rejected/…             the others, with their reasons

Rows are sorted by record id and nothing in them tells time or chance: the same run writes the same Parquet bytes.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecgvf.core import console
from ecgvf.core.errors import DatasetError
from ecgvf.core.files import disk_errors, write_atomic
from ecgvf.core.records import PromptPair, Rendering, Role, Split, from_table
from ecgvf.core.run import ConceptRun
from ecgvf.publish import catalogue, rows, sheet
from ecgvf.publish.catalogue import ConfigFacts, Facts, SplitFacts
from ecgvf.publish.run import Run, open_run

SHARD_BYTES = 256 * 2**20
"""A file is closed when its pictures reach this many bytes."""

GROUP_BYTES = 16 * 2**20
"""A row group is written when its pictures reach this many bytes: what is held in memory at once."""

GROUP_ROWS = 100
"""Rows of a row group at most: what a viewer reads for one page."""

SPLITS: tuple[Split, Split] = ("train", "test")


@dataclass(frozen=True, slots=True)
class Content:
    """What was written of one run: the files, and the facts for card and ``ecgvf.json``."""

    run: Run
    folder: Path
    images: bool
    facts: Facts

    @property
    def files(self) -> list[str]:
        """Paths of the Parquet files in the folder, with ``/``, in order."""
        return [file for config in self.facts.configs for split in config.splits for file in split.files]


def rejected_config(concept: str) -> str:
    """The config that holds what was not accepted."""
    return f"{concept}-rejected"


def write_content(run: Run, folder: Path, *, images: bool = True) -> Content:
    """Write the Parquet files of ``run`` under ``folder``. Memory does not grow with the pictures' number."""
    if run.concept.name.endswith("-rejected"):
        raise DatasetError(
            f"{run.concept.name!r} would collide with the rejected records of another concept: rename it"
        )
    hashed = rows.Fingerprint()
    hashed.add("about", rows.about(run))
    configs = []
    folder.mkdir(parents=True, exist_ok=True)
    with (
        disk_errors(folder),
        _Drawn.opened(run, folder) as drawn,
        console.progress("writing", len(run.records)) as bar,
    ):
        for rejected in (False, True):
            config = rejected_config(run.concept.name) if rejected else run.concept.name
            splits = []
            for split in SPLITS:
                records = [
                    record
                    for record in run.records
                    if record.split == split and run.decisions[record.record_id].accepted != rejected
                ]
                if records:  # a split without rows would be an error to those who load it
                    writing = _Writing(run, drawn, hashed, folder, config, split, images, rejected)
                    splits.append(writing.write(records, bar))
            if splits:
                configs.append(ConfigFacts(name=config, rejected=rejected, splits=splits))
    facts = {"fingerprint": hashed.text, "images": images, "configs": configs, **run.facts()}
    return Content(run=run, folder=folder, images=images, facts=Facts.model_validate(facts))


class _Drawn:
    """The pictures of a run by record, kept in one file beside the output rather than in memory."""

    def __init__(self, spool: IO[bytes]) -> None:
        self._spool = spool
        self._where: dict[tuple[str, Role], tuple[int, int, int, bytes]] = {}

    @classmethod
    @contextmanager
    def opened(cls, run: Run, folder: Path) -> Iterator["_Drawn"]:
        with tempfile.TemporaryFile(dir=folder) as spool:
            drawn = cls(spool)
            for table in run.pictures.tables():
                for rendering in from_table(Rendering, table):
                    if rendering.failure is None:
                        drawn._keep(rendering)
            yield drawn

    def size(self, record_id: str) -> int:
        """Bytes of a record's pictures."""
        return sum(self._where[key][1] for key in self._keys(record_id))

    def of(self, record_id: str) -> dict[Role, rows.Picture]:
        """A record's pictures, by role."""
        found: dict[Role, rows.Picture] = {}
        for key in self._keys(record_id):
            start, length, seed, ids = self._where[key]
            self._spool.seek(start)
            vq_ids = tuple(np.frombuffer(ids, dtype=np.uint16).tolist())
            found[key[1]] = rows.Picture(seed=seed, image=self._spool.read(length), vq_ids=vq_ids)
        return found

    def _keep(self, rendering: Rendering) -> None:
        start = self._spool.seek(0, os.SEEK_END)
        self._spool.write(rendering.image)
        ids = np.asarray(rendering.vq_ids, dtype=np.uint16).tobytes()
        self._where[rendering.record_id, rendering.role] = (start, len(rendering.image), rendering.seed, ids)

    def _keys(self, record_id: str) -> list[tuple[str, Role]]:
        roles: tuple[Role, Role] = ("target", "surrogate")
        return [(record_id, role) for role in roles if (record_id, role) in self._where]


@dataclass(frozen=True, slots=True)
class _Writing:
    """One split of one config being written."""

    run: Run
    drawn: _Drawn
    hashed: rows.Fingerprint
    folder: Path
    config: str
    split: Split
    images: bool
    rejected: bool

    def write(self, records: Sequence[PromptPair], bar: console.Bar) -> SplitFacts:
        schema = rows.schema(self.run, images=self.images, rejected=self.rejected)
        shards = _cut(records, self._size, SHARD_BYTES)
        files, size, download = [], 0, 0
        for index, shard in enumerate(shards):
            name = f"{self.config}/{self.split}-{index:05d}-of-{len(shards):05d}.parquet"
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            # Content-defined chunks: a new version of a file uploads only what changed in it.
            options: dict[str, Any] = {"compression": "zstd", "use_content_defined_chunking": True}
            with pq.ParquetWriter(file, schema, write_page_index=True, **options) as writer:
                for group in _cut(shard, self._size, GROUP_BYTES, GROUP_ROWS):
                    table = pa.Table.from_pylist([self._row(record, schema) for record in group], schema=schema)
                    writer.write_table(table, row_group_size=len(group))
                    size += table.nbytes
                    bar.advance(len(group))
            files.append(name)
            download += file.stat().st_size
        return SplitFacts(name=self.split, rows=len(records), bytes=size, download=download, files=files)

    def _row(self, record: PromptPair, schema: pa.Schema) -> rows.Row:
        said = rows.row(self.run, record, self.drawn.of(record.record_id))
        written = {name: said[name] for name in schema.names}
        self.hashed.add(self.config, written)
        return written

    def _size(self, record: PromptPair) -> int:
        return self.drawn.size(record.record_id) if self.images else 0


def _cut(records: Sequence[PromptPair], size: Any, most_bytes: int, most: int | None = None) -> list[list[PromptPair]]:
    """Consecutive parts, each closed when it reaches ``most_bytes`` or ``most`` records."""
    parts: list[list[PromptPair]] = [[]]
    filled = 0
    for record in records:
        if parts[-1] and (filled >= most_bytes or len(parts[-1]) == most):
            parts.append([])
            filled = 0
        parts[-1].append(record)
        filled += size(record)
    return parts


def export(concept_run: ConceptRun, out: Path, *, images: bool = True, chosen: str | None = None) -> Content:
    """Write the dataset of ``concept`` (None: the last one) to the folder ``out``, loadable without network.

    The folder of an earlier export is replaced whole; what people wrote into its card stays. Raises ``DatasetError``
    for a folder that holds anything else, and what ``open_run`` raises.
    """
    from ecgvf.publish import card, croissant

    run = open_run(concept_run, chosen)
    out = out.resolve()
    before, previous = _earlier(out, run.concept.name)
    ours = f"{out.name}.{secrets.token_hex(4)}"  # a process id would not tell two machines apart
    beside = out.with_name(f"{ours}.tmp")
    try:
        content = write_content(run, beside, images=images)
        told = catalogue.Catalogue().with_concept(run.concept.name, content.facts)
        for name, data in extras(content).items():
            write_atomic(beside / name, data)
        write_atomic(beside / catalogue.FILE, told.text().encode())
        write_atomic(beside / "README.md", card.card(told, before=before, previous=previous).encode())
        write_atomic(beside / croissant.FILE, croissant.describe(told, beside).encode())
        # Killed in between, the earlier export with what people wrote into its card is still there, under this name.
        earlier = out.with_name(f"{ours}.earlier")
        if out.exists():
            out.rename(earlier)
        beside.rename(out)
        shutil.rmtree(earlier, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return replace(content, folder=out)


def _earlier(out: Path, concept: str) -> tuple[str | None, catalogue.Catalogue | None]:
    """The card and the facts of an earlier export in ``out``. Raises ``DatasetError`` where that is something else."""
    if any(one.is_file() for one in (out, *out.parents)):
        raise DatasetError(f"{out} lies in a file: name a new folder with --out")
    if not out.exists() or not any(out.iterdir()):
        return None, None
    if not (out / catalogue.FILE).is_file():
        raise DatasetError(f"{out} is there and no earlier export: name a new folder with --out")
    try:
        held = catalogue.read((out / catalogue.FILE).read_bytes(), str(out / catalogue.FILE))
        text = (out / "README.md").read_text(encoding="utf-8") if (out / "README.md").is_file() else None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{out / 'README.md'} is not UTF-8 text: correct it, or name a new folder") from error
    if other := sorted(set(held.concepts) - {concept}):
        raise DatasetError(f"{out} holds the export of {other[0]!r}: name a new folder with --out")
    configs = {config.name for facts in held.concepts.values() for config in facts.configs}
    ours = {"README.md", catalogue.FILE, "croissant.json", "assets", *configs}
    if foreign := sorted(one.name for one in out.iterdir() if one.name not in ours):
        raise DatasetError(f"{out} holds {foreign[0]!r}, which no export wrote: move it, or name a new folder")
    return text, held


def extras(content: Content) -> dict[str, bytes]:
    """What goes with the rows and is not Parquet: the contact sheet, where there are pictures to show."""
    shown = []
    if content.images:
        first = content.facts.configs[0].splits[0].files[0]  # an accepted pair is there, or nothing is written
        columns = ["target", "surrogate", *rows.IMAGES]
        for group in pq.ParquetFile(content.folder / first).iter_batches(sheet.MOST, columns=columns):
            shown = [
                sheet.Shown(
                    one["target"], one["surrogate"], one["target_image"]["bytes"], one["surrogate_image"]["bytes"]
                )
                for one in group.to_pylist()
            ]
            break
    name = content.run.concept.name
    return {f"assets/{name}.png": sheet.sheet(shown, blurred=content.run.concept.unsafe)} if shown else {}
