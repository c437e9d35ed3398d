"""Shards in a folder: written whole or not at all, verified when read, and resumable.

FOLDER/
  settings.json           the header: the settings, and the circumstances (batch size, threads) that a resumed run keeps
  shard-00000.parquet     no time, no randomness: equal runs write equal bytes
  log.jsonl               a line per shard, written before it: its hash, its rows, and the seconds it took
  manifest.json           written last: the set is finished

How a set resumes after a kill: each file appears whole (``files.write_atomic``), and a log line that was cut short
harms no other (``files.append_line``). The header is on disk before the first shard, and a shard's hash before the
shard. So a shard that is there must have its hash (``done``), and the ``missing`` ones are made again.
"""

import hashlib
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

import ecgvf
from ecgvf.core import console, jsonl
from ecgvf.core.errors import SettingsError, StageMissing, StoreCorrupt
from ecgvf.core.files import JSON, append_line, canonical_json, content_hash, pretty_json, read_json, write_atomic
from ecgvf.core.parquet import parquet_bytes
from ecgvf.core.records import R, from_table

T = TypeVar("T")

Advance = Callable[[int], None]
"""A callback of the number of tasks done since its last call."""

Summary = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""Facts about a finished set, or a function that finds them."""

_PACKAGES = ("torch", "torchvision", "transformers", "numpy", "pyarrow", "pillow")


def fingerprint(settings: Mapping[str, Any]) -> str:
    """12 hex digits, equal for equal ``settings``."""
    return content_hash(settings, 12)


class BatchTooLarge(Exception):
    """A batch does not fit in memory: make the shard again in smaller ones.

    ``size`` is the set's batch size, ``tried`` the number of tasks in the batch: a shard may have fewer than ``size``.
    """

    def __init__(self, size: int, tried: int) -> None:
        super().__init__(size, tried)
        self.size, self.tried = size, tried


class ShardSet:
    """The folder ``path``, whose shards ``command`` makes with ``settings``; nothing is written yet.

    ``origin`` goes into the manifest. Raises ``StoreCorrupt`` if the folder has other settings.
    """

    def __init__(
        self, path: Path, settings: Mapping[str, Any], command: str, origin: Mapping[str, str] | None = None
    ) -> None:
        self.path, self.settings, self.command = path, dict(settings), command
        self.fingerprint = fingerprint(settings)
        self._origin = origin or {}
        self._lap = time.monotonic()
        self._log: dict[int, JSON] | None = None
        self._files: dict[str, str | None] | None = None
        header = self._header()
        if header and fingerprint(header.get("settings", {})) != self.fingerprint:
            raise StoreCorrupt(f"{self.path / 'settings.json'} was changed by hand: restore it, or delete {self.path}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    # What the set is

    @property
    def finished(self) -> bool:
        """Whether its manifest is written."""
        return (self.path / "manifest.json").is_file()

    def require_finished(self) -> None:
        """Raise ``StageMissing`` unless the manifest is written."""
        if not self.finished:
            raise StageMissing(f"{self.path} is not finished: run `{self.command}` to resume")

    @property
    def started(self) -> str:
        """When its header was written, ISO 8601 in UTC; empty before that."""
        return str(self._header().get("started", ""))

    @property
    def manifest(self) -> JSON:
        """The manifest of a finished set. Raises ``StageMissing`` before that."""
        self.require_finished()
        return read_json(self.path / "manifest.json")

    @property
    def summary(self) -> JSON:
        """What was passed to ``finish``."""
        summary: JSON = self.manifest["summary"]
        return summary

    @property
    def circumstances(self) -> JSON:
        """Batch size, threads and device, as ``record_circumstances`` recorded them; empty before that."""
        return dict(self._header().get("circumstances", {}))

    @property
    def seconds(self) -> float:
        """Seconds of work on the set, without the pauses between runs.

        If several sets are filled together (images and the verdicts on them), each counts the whole time.
        """
        return float(sum(line["seconds"] for line in self._logged().values()))

    # Writing

    def fill(
        self,
        shards: Sequence[Sequence[T]],
        work: Callable[[Sequence[T], JSON, Advance], pa.Table],
        *,
        description: str,
        circumstances: Mapping[str, Any] | None = None,
    ) -> int:
        """Write every missing shard, in order, with a progress bar; return the number of tasks done now.

        ``work(tasks, circumstances, advance)`` makes the table of one shard, and calls ``advance(n)`` after each ``n``
        tasks; the first shard is made again if its circumstances have changed meanwhile. ``circumstances`` as in
        ``record_circumstances``. A finished set is left as it is. For work on several GPUs, let an engine fill the set
        instead (``ecgvf.engine``).
        """
        missing = self.missing(len(shards))
        if not missing:
            return 0
        recorded = self.begin(circumstances or {})
        total, due = sum(map(len, shards)), sum(len(shards[index]) for index in missing)
        with console.progress(description, total, total - due) as bar:
            while missing:
                index = missing[0]
                table = work(shards[index], recorded, bar.advance)
                if recorded == (latest := self.circumstances):
                    self.write_shard(missing.pop(0), table)
                else:  # before the first shard another process may have recorded its own
                    recorded = latest
                    bar.advance(-len(shards[index]))
        return due

    def announce(self) -> None:
        """Tell the user which set this is, before it is filled. A subclass has something to say."""

    def missing(self, count: int) -> list[int]:
        """Indices of the shards below ``count`` that are not there yet. Raises ``StoreCorrupt`` as ``done`` does."""
        return [] if self.finished else [index for index in range(count) if not self.done(index)]

    def begin(self, circumstances: Mapping[str, Any]) -> JSON:
        """Announce the set if it has no shards yet; then ``record_circumstances``.

        Raises ``SettingsError`` if its shards were made on another kind of device.
        """
        if not self.shards():
            self.announce()
        recorded = self.record_circumstances(**circumstances)
        begun, device = recorded.get("device"), circumstances.get("device")
        if begun is not None and device is not None and begun != device:
            raise SettingsError(f"{self.path} was begun on {begun}: finish it with --device {begun}, or delete it")
        return recorded

    def halve_batches(self, tried: int) -> JSON:
        """Record that the missing shards are made in batches of half of ``tried``; return the new circumstances.

        Their ``halved`` lists each change: the number of shards written before it, and the new size.
        """
        size = tried // 2
        console.note(f"no memory for {console.counted(tried, 'image')} at once: going on with {size}")
        header = self._header()
        recorded: JSON = header["circumstances"]
        halved = [*recorded.get("halved", []), [len(self.shards()), size]]
        recorded |= {"batch_size": size, "halved": halved}
        write_atomic(self.path / "settings.json", pretty_json(header))
        return self.circumstances

    def record_circumstances(self, **circumstances: Any) -> JSON:
        """Record what is no setting but must not change within a set: batch size, threads. Return what is recorded.

        Once there is a shard, nothing changes: a resumed run gets the circumstances of the interrupted one.
        """
        self._write_header(circumstances)
        header = self._header()
        if not self.shards() and header["circumstances"] != circumstances:
            header["circumstances"] = circumstances
            write_atomic(self.path / "settings.json", pretty_json(header))
        return self.circumstances

    def done(self, index: int) -> bool:
        """Whether shard ``index`` is there, as it was written. Raises ``StoreCorrupt`` if it was changed since, or lost
        from a finished set."""
        file = self.shard(index)
        if not file.is_file():
            if file.name in (self._finished_files() or {}):
                raise self._lost(file)
            return False
        self._verify(index)
        return True

    def write_shard(self, index: int, table: pa.Table) -> None:
        """Write shard ``index``, whole or not at all. Raises ``DiskFull``.

        Another process may have finished the set meanwhile: if it has this very shard, nothing is written, otherwise
        ``StoreCorrupt`` is raised.
        """
        data = parquet_bytes(table)
        if self.finished:
            self._log = None  # the other process wrote lines of its own
            if self.manifest["files"].get(self.shard(index).name) == _sha256(data):
                return
            raise StoreCorrupt(f"{self.path} is finished: its shards are not written again")
        self._write_header({})
        now = time.monotonic()
        line = {"shard": index, "sha256": _sha256(data), "rows": table.num_rows, "seconds": round(now - self._lap, 3)}
        # The hash is on disk before the shard, so that no shard is ever there without one.
        append_line(self.path / "log.jsonl", canonical_json(line))
        self._logged()[index] = line
        self._lap = now
        write_atomic(self.shard(index), data)

    def finish(self, summary: Summary) -> None:
        """Check every shard and write the manifest; a finished set is left as it is.

        A function makes its ``summary`` of checked shards. Raises ``StoreCorrupt``.
        """
        if not self.finished:
            self._write_header({})
            files, rows = {}, 0
            for file in self.shards():
                line = self._verify(_index(file))
                files[file.name] = line["sha256"]
                rows += line["rows"]
            manifest = {
                **self._origin,
                "fingerprint": self.fingerprint,
                "settings": self.settings,
                "circumstances": self.circumstances,
                "versions": versions(),
                "started": self.started,
                "ended": _now(),
                "seconds": round(self.seconds, 3),
                "rows": rows,
                "files": files,
                "summary": dict(summary() if callable(summary) else summary),
            }
            for temporary in self.path.glob("*.tmp"):
                temporary.unlink(missing_ok=True)
            write_atomic(self.path / "manifest.json", pretty_json(manifest))

    def update_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace the summary of a finished set, for facts that may change though the rows do not (what calls cost)."""
        if self.manifest["summary"] != dict(summary):
            write_atomic(self.path / "manifest.json", pretty_json({**self.manifest, "summary": dict(summary)}))

    # Reading

    def shard(self, index: int) -> Path:
        """Path of shard ``index``, which need not exist."""
        return self.path / f"shard-{index:05d}.parquet"

    def shards(self) -> list[Path]:
        """The shards that are there, in order. Raises ``StoreCorrupt`` naming one that a finished set has lost."""
        shards = sorted(self.path.glob("shard-[0-9]*.parquet"), key=_index)
        if lost := sorted((self._finished_files() or {}).keys() - {file.name for file in shards}):
            raise self._lost(self.path / lost[0])
        return shards

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The shards in order, one at a time, each checked, with all columns or with ``columns``.

        Raises ``StoreCorrupt`` naming the file.
        """
        for file in self.shards():
            yield self.read_shard(_index(file), columns)

    def read_shard(self, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One shard, checked, with all columns or with ``columns``. Raises ``StoreCorrupt``."""
        try:
            data = self.shard(index).read_bytes()
        except FileNotFoundError:
            raise self._lost(self.shard(index)) from None
        self._verify(index, data)
        # Arrow's threads may hold the bytes for longer than the call. To free them at exit, they wait for the GIL, and
        # the process ends with SIGABRT (https://github.com/apache/arrow/issues/34314).
        return pq.ParquetFile(pa.BufferReader(data)).read(columns=columns, use_threads=False)

    def read_column(self, name: str) -> list[Any]:
        """The values of one column, in order. The rest of the shards is not read: they must have been checked."""
        values: list[Any] = []
        for file in self.shards():
            with file.open("rb") as stream:
                values += pq.ParquetFile(stream).read([name], use_threads=False)[name].to_pylist()
        return values

    def read(self) -> pa.Table:
        """All rows, in order. Raises ``StoreCorrupt`` naming a changed file, ``StageMissing`` if there are none."""
        tables = list(self.tables())
        if not tables:
            raise StageMissing(f"{self.path} has no rows yet: run `{self.command}`")
        return pa.concat_tables(tables)

    def records(self, kind: type[R]) -> list[R]:
        """All rows as records, in order. Raises as ``read`` does."""
        return from_table(kind, self.read())

    # Inside

    def _header(self) -> JSON:
        """The content of ``settings.json``; empty if it is not written yet."""
        file = self.path / "settings.json"
        return read_json(file) if file.is_file() else {}

    def _write_header(self, circumstances: JSON) -> None:
        """Write ``settings.json``, unless it is there."""
        if not self._header():
            header = {"settings": self.settings, "circumstances": circumstances, "started": _now()}
            write_atomic(self.path / "settings.json", pretty_json(header))
            self._lap = time.monotonic()

    def _lost(self, file: Path) -> StoreCorrupt:
        return StoreCorrupt(f"{file} is missing: restore it, or delete {self.path} and run `{self.command}` again")

    def _finished_files(self) -> Mapping[str, str | None] | None:
        """Shard → hash, of a finished set, whose manifest is read for it once; None before it is finished."""
        if not self.finished:
            self._files = None
        elif self._files is None:
            self._files = self.manifest["files"]
        return self._files

    def _verify(self, index: int, data: bytes | None = None) -> JSON:
        """The log's line of shard ``index``, whose bytes are ``data`` (None: read them).

        Raises ``StoreCorrupt`` unless their hash is the one in the log and, if the set is finished, in the manifest.
        """
        file = self.shard(index)
        digest = _sha256(file.read_bytes() if data is None else data)
        line = self._logged().get(index)
        if line is None or line["sha256"] != digest:
            self._log = None  # another process may have written the shard since, and its line before it
            line = self._logged().get(index)
        files = self._finished_files()
        in_manifest = files is None or files.get(file.name) == digest
        if line is None or line["sha256"] != digest or not in_manifest:
            raise self._changed(file)
        return line

    def _changed(self, file: Path) -> StoreCorrupt:
        return StoreCorrupt(
            f"{file} is not what was written (changed by hand, or damaged): restore it, "
            f"or delete {self.path} and run `{self.command}` again"
        )

    def _logged(self) -> dict[int, JSON]:
        """Shard → its last line in the log, without lines that a kill cut short."""
        if self._log is None:
            file = self.path / "log.jsonl"
            lines = jsonl.objects(file.read_bytes() if file.is_file() else b"")
            self._log = {line["shard"]: line for line in lines if isinstance(line.get("shard"), int)}
        return self._log


def versions() -> dict[str, str]:
    """Package → version, of ecgvf, Python and the packages whose version can change images and rows."""
    return {"ecgvf": ecgvf.__version__, "python": platform.python_version(), **_installed()}


@cache
def _installed() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in _PACKAGES}


def _index(file: Path) -> int:
    return int(file.stem.removeprefix("shard-"))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
