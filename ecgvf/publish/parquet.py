"""The Parquet files of a run.

Rows are sorted by record id and contain no clock and no chance: the same run writes the same bytes. Memory does not
grow with the number of images.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecgvf.core import console
from ecgvf.core.errors import DatasetError
from ecgvf.core.files import disk_errors
from ecgvf.core.records import ROLES, PromptPair, Rendering, Role, Split, from_table
from ecgvf.core.stage_set import StageSet
from ecgvf.publish import rows
from ecgvf.publish.catalogue import ConceptFacts, ConfigFacts, SplitFacts, rejected_config
from ecgvf.publish.finished_run import FinishedRun

SHARD_BYTES = 256 * 2**20
"""A file is closed when its images reach this many bytes."""

GROUP_BYTES = 16 * 2**20
"""A row group is closed when its images reach this many bytes: what is in memory at once."""

GROUP_ROWS = 100
"""Most rows of a row group: what a viewer reads for one page."""

SPLITS: tuple[Split, Split] = ("train", "test")


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """The files written of a run, and the facts for card and ``ecgvf.json``."""

    run: FinishedRun
    folder: Path
    facts: ConceptFacts

    @property
    def paths(self) -> list[str]:
        """The Parquet files, relative to the folder, with ``/``, in order."""
        return [file for config in self.facts.configs for split in config.splits for file in split.files]


def write_parquet(run: FinishedRun, folder: Path, *, images: bool = True) -> DatasetFiles:
    """Write the Parquet files of ``run`` under ``folder``, with or without images.

    Raises ``DatasetError`` for a concept whose name ends in "-rejected", ``DiskFull``, ``StoreError``.
    """
    name = run.concept.name
    if name.endswith("-rejected"):
        raise DatasetError(f"{name!r} would collide with the rejected records of another concept: rename it")
    fingerprint = rows.Fingerprint()
    fingerprint.add("about", rows.metadata(run))
    folder.mkdir(parents=True, exist_ok=True)
    with (
        disk_errors(folder),
        _ImageFile.of(run.images, folder) as image_file,
        console.progress("writing", len(run.records)) as bar,
    ):
        writer = _Writer(run, folder, images, image_file, fingerprint, bar.advance)
        configs = [writer.write_config(name, rejected=False), writer.write_config(rejected_config(name), rejected=True)]
    facts = {
        "fingerprint": fingerprint.text,
        "images": images,
        "configs": [config for config in configs if config.splits],
        **run.facts(),
    }
    return DatasetFiles(run, folder, ConceptFacts.model_validate(facts))


class _ImageFile:
    """The renderings of a run in one temporary file instead of in memory, read by record id."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._index: dict[tuple[str, Role], tuple[Rendering, int, int, int]] = {}
        """Rendering without image and VQ ids; where its image starts and ends, and where its VQ ids (uint16) end."""

    @classmethod
    @contextmanager
    def of(cls, images: StageSet, folder: Path) -> Iterator[Self]:
        """The renderings of ``images`` that did not fail; the file, in ``folder``, is removed at the end."""
        with tempfile.TemporaryFile(dir=folder) as file:
            image_file = cls(file)
            for table in images.tables():
                for rendering in from_table(Rendering, table):
                    if rendering.failure is None:
                        image_file._add(rendering)
            yield image_file

    def renderings(self, record_id: str) -> dict[Role, Rendering]:
        """The renderings of a record, by role."""
        return {role: self._read(record_id, role) for role in self._roles(record_id)}

    def image_bytes(self, record_id: str) -> int:
        """Bytes of a record's images."""
        spans = (self._index[record_id, role][1:3] for role in self._roles(record_id))
        return sum(end - start for start, end in spans)

    def _roles(self, record_id: str) -> list[Role]:
        return [role for role in ROLES if (record_id, role) in self._index]

    def _add(self, rendering: Rendering) -> None:
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(rendering.image)
        image_end = self._file.tell()
        self._file.write(np.asarray(rendering.vq_ids, dtype=np.uint16).tobytes())
        key = (rendering.record_id, rendering.role)
        self._index[key] = (replace(rendering, image=b"", vq_ids=()), start, image_end, self._file.tell())

    def _read(self, record_id: str, role: Role) -> Rendering:
        rendering, start, image_end, end = self._index[record_id, role]
        self._file.seek(start)
        image = self._file.read(image_end - start)
        vq_ids = np.frombuffer(self._file.read(end - image_end), dtype=np.uint16)
        return replace(rendering, image=image, vq_ids=tuple(vq_ids.tolist()))


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the configs of a run one after the other, and hashes their rows."""

    run: FinishedRun
    folder: Path
    images: bool
    image_file: _ImageFile
    fingerprint: rows.Fingerprint
    advance: Callable[[int], None]

    def write_config(self, name: str, *, rejected: bool) -> ConfigFacts:
        """Write the splits that have rows; ``datasets`` cannot load an empty one."""
        schema = rows.schema(self.run, images=self.images, rejected=rejected)
        splits = []
        for split in SPLITS:
            records = [
                record
                for record in self.run.records
                if record.split == split and self.run.decisions[record.record_id].accepted != rejected
            ]
            if records:
                splits.append(self._write_split(name, split, records, schema))
        return ConfigFacts(name=name, rejected=rejected, splits=splits)

    def _write_split(self, config: str, split: Split, records: Sequence[PromptPair], schema: pa.Schema) -> SplitFacts:
        (self.folder / config).mkdir(exist_ok=True)
        shards = self._chunks(records, SHARD_BYTES)
        paths = [f"{config}/{split}-{index:05d}-of-{len(shards):05d}.parquet" for index in range(len(shards))]
        table_bytes = 0
        # Content-defined chunks: a new version of a file uploads only what changed in it.
        options: dict[str, Any] = {"compression": "zstd", "use_content_defined_chunking": True}
        for path, shard in zip(paths, shards, strict=True):
            with pq.ParquetWriter(self.folder / path, schema, write_page_index=True, **options) as writer:
                for group in self._chunks(shard, GROUP_BYTES, GROUP_ROWS):
                    table = pa.Table.from_pylist([self._row(config, record, schema) for record in group], schema)
                    writer.write_table(table, row_group_size=len(group))
                    table_bytes += table.nbytes
                    self.advance(len(group))
        return SplitFacts(
            name=split,
            rows=len(records),
            bytes=table_bytes,
            download=sum((self.folder / path).stat().st_size for path in paths),
            files=paths,
        )

    def _row(self, config: str, record: PromptPair, schema: pa.Schema) -> rows.Row:
        row = rows.to_row(self.run, record, self.image_file.renderings(record.record_id))
        row = {name: row[name] for name in schema.names}
        self.fingerprint.add(config, row)
        return row

    def _chunks(
        self, records: Sequence[PromptPair], max_bytes: int, max_rows: int | None = None
    ) -> list[list[PromptPair]]:
        """Consecutive parts, each closed when its images reach ``max_bytes``, or at ``max_rows`` records."""
        chunks: list[list[PromptPair]] = [[]]
        filled = 0
        for record in records:
            if chunks[-1] and (filled >= max_bytes or len(chunks[-1]) == max_rows):
                chunks.append([])
                filled = 0
            chunks[-1].append(record)
            filled += self.image_file.image_bytes(record.record_id) if self.images else 0
        return chunks
