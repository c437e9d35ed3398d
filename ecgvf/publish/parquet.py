"""The Parquet files of a run.

Rows are sorted by record id and contain no clock and no chance: the same run writes the same bytes. Memory does not
grow with the number of images.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecgvf.core import console
from ecgvf.core.errors import DatasetError
from ecgvf.core.files import disk_errors, sync_folder
from ecgvf.core.openings import Opening, merge, openings
from ecgvf.core.records import ROLES, SPLITS, PromptPair, Rendering, Role, Split
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


_OTHER_CONFIGS = {
    "-rejected": "rejected records of another concept",
    "-results": "results of a suite",
    "-outcomes": "outcomes of a suite",
}
"""How the names of configs end that are no concept's → what they hold."""


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """The files written of a run, and the facts for card and ``ecgvf.json``."""

    run: FinishedRun
    folder: Path
    facts: ConceptFacts
    openings: tuple[Opening, ...] = ()
    """Who looked at the test split: published with the files, and no part of the fingerprint."""

    def with_openings(self, published: Iterable[Opening]) -> "DatasetFiles":
        """These files with all openings: from the run's store, and ``published`` before."""
        merged = tuple(merge(openings(self.run.acceptance.run), published))
        return replace(self, openings=merged, facts=self.facts.model_copy(update={"test_openings": len(merged)}))

    @property
    def paths(self) -> list[str]:
        """The Parquet files, relative to the folder, with ``/``, in order."""
        return [file for config in self.facts.configs for split in config.splits for file in split.files]


def write_parquet(run: FinishedRun, folder: Path, *, images: bool = True) -> DatasetFiles:
    """Write the Parquet files of ``run`` under ``folder``, with or without images.

    Raises ``DatasetError`` for a concept whose name ends as those of other configs do, ``DiskFull``, ``StoreError``.
    """
    name = run.concept.name
    for ending, content in _OTHER_CONFIGS.items():
        if name.endswith(ending):
            raise DatasetError(f"{name!r} would collide with the {content}: rename it")
    fingerprint = rows.Fingerprint()
    fingerprint.add("about", rows.metadata(run))
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file, console.progress("writing", len(run.records)) as bar:
            writer = _Writer(run, folder, images, _Renderings(run.images, file), fingerprint, bar.advance)
            configs = [
                writer.write_config(name, rejected=False),
                writer.write_config(rejected_config(name), rejected=True),
            ]
    facts = {
        "fingerprint": fingerprint.text,
        "images": images,
        "configs": [config for config in configs if config.splits],
        **run.facts(),
    }
    return DatasetFiles(run, folder, ConceptFacts.model_validate(facts))


class _Renderings:
    """The renderings of a run that did not fail, in one temporary file instead of in memory, read by record id."""

    def __init__(self, images: StageSet, file: IO[bytes]) -> None:
        self._indices: dict[tuple[str, Role], int] = {}
        self._image_bytes: list[int] = []
        with pa.ipc.new_file(file, Rendering.SCHEMA) as writer:
            for table in images.tables():
                rendered = table.filter(pc.is_null(table["failure"]))
                writer.write_table(rendered, max_chunksize=1)  # a batch is what is read at once
                keys = zip(rendered["record_id"].to_pylist(), rendered["role"].to_pylist(), strict=True)
                self._indices |= {key: index for index, key in enumerate(keys, start=len(self._image_bytes))}
                self._image_bytes += pc.binary_length(rendered["image"]).to_pylist()
        self._batches = pa.ipc.open_file(file)

    def of(self, record_id: str) -> dict[Role, Rendering]:
        """The renderings of a record, by role."""
        batches = {role: self._batches.get_batch(index) for role, index in self._by_role(record_id).items()}
        return {role: Rendering.from_row(batch.to_pylist()[0]) for role, batch in batches.items()}

    def image_bytes(self, record_id: str) -> int:
        """Bytes of a record's images."""
        return sum(self._image_bytes[index] for index in self._by_role(record_id).values())

    def _by_role(self, record_id: str) -> dict[Role, int]:
        return {role: self._indices[record_id, role] for role in ROLES if (record_id, role) in self._indices}


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the configs of a run one after the other, and hashes their rows."""

    run: FinishedRun
    folder: Path
    images: bool
    renderings: _Renderings
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
            with (self.folder / path).open("wb") as file:
                with pq.ParquetWriter(file, schema, write_page_index=True, **options) as writer:
                    for group in self._chunks(shard, GROUP_BYTES, GROUP_ROWS):
                        table = pa.Table.from_pylist([self._row(config, record, schema) for record in group], schema)
                        writer.write_table(table, row_group_size=len(group))
                        table_bytes += table.nbytes
                        self.advance(len(group))
                file.flush()
                os.fsync(file.fileno())
        sync_folder(self.folder / config)
        return SplitFacts(
            name=split,
            rows=len(records),
            bytes=table_bytes,
            download=sum((self.folder / path).stat().st_size for path in paths),
            files=paths,
        )

    def _row(self, config: str, record: PromptPair, schema: pa.Schema) -> rows.Row:
        row = rows.to_row(self.run, record, self.renderings.of(record.record_id))
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
            filled += self.renderings.image_bytes(record.record_id) if self.images else 0
        return chunks
