"""A run on disk: ``STORE/<concept>/<stage>/<fingerprint>/``, shards that are whole or absent, and a manifest.

A *set* is one stage's output under one fingerprint of its settings; ``current`` names the set that the next stage
reads.

    STORE/
      store.json                    format of this store
      last                          name of the concept generated, imported or built last
      church/
        concept.json                the concept as it was then
        pairs/
          current                   fingerprint of the set that the next stage reads
          1f0c…/
            settings.json           what decides the data, and the circumstances that a resumed run must keep
            shard-00000.parquet     no clock, no chance: equal runs write equal bytes
            log.jsonl               one line per shard: its hash, and the seconds it took
            manifest.json           written last: the set is finished

Every file is written beside its place, flushed to the disk and renamed over it, so that a kill at any moment leaves the
old file or the new one. Two processes that write the same set write the same bytes.
"""

import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import ecgvf
from ecgvf.concepts import NAME, Concept, parse
from ecgvf.errors import DiskFull, StageMissing, StoreCorrupt, StoreError, StoreVersionError

FORMAT = 1

PAIRS, PICTURES, VERDICTS, ACCEPTANCE = "pairs", "pictures", "verdicts", "acceptance"

STAGES = (PAIRS, PICTURES, VERDICTS, ACCEPTANCE)

COMMANDS = {
    PAIRS: "ecgvf generate",
    PICTURES: "ecgvf render",
    VERDICTS: "ecgvf filter",
    ACCEPTANCE: "ecgvf filter",
    "rehearsal": "ear train",
    "evaluation": "ear eval",
}
"""What to type for a stage, in messages."""

JSON = dict[str, Any]

_FOLDER = re.compile(rf"{NAME.pattern}(\+{NAME.pattern})*")  # several erased concepts are joined by "+"
_SHARD = re.compile(r"shard-(\d{5})\.parquet")
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PACKAGES = ("torch", "torchvision", "transformers", "numpy", "pyarrow", "pillow")


def default_root() -> Path:
    """``$ECGVF_STORE``, or ``ecgvf-store`` in the working directory."""
    return Path(os.environ.get("ECGVF_STORE") or "ecgvf-store")


def fingerprint(settings: Mapping[str, Any]) -> str:
    """12 hex digits: a hash of the canonical JSON of ``settings``; the order of its keys does not count."""
    return hashlib.sha256(_canonical(settings)).hexdigest()[:12]


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all, through to the disk. Raises ``DiskFull``."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with space_needed(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


class Store:
    """The runs under one ``root``. Nothing is created before something is written.

    Raises ``StoreVersionError`` for a store in another format, ``StoreError`` for a folder that is something else.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root) if root is not None else default_root()
        self._check_format()

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def folder(self, concept: str, stage: str) -> Path:
        """``STORE/<concept>/<stage>``, not created. Raises ``StoreError`` for a name that cannot be a folder."""
        for name in (concept, stage):
            if not _FOLDER.fullmatch(name):
                raise StoreError(f"{name!r} cannot name a folder of the store: use lower-case letters, digits, hyphens")
        return self.root / concept / stage

    def stage(self, concept: str, stage: str, settings: Mapping[str, Any]) -> "StageSet":
        """The set of ``settings``: an old one to go on with, or a new one (see ``StageSet.moved``)."""
        return StageSet(self, concept, stage, fingerprint(settings), dict(settings))

    def sets(self, concept: str, stage: str) -> list["StageSet"]:
        """All sets of a stage, oldest first, unfinished ones included."""
        found = [self._opened(concept, stage, file.parent) for file in self._settings_files(concept, stage)]
        return sorted(found, key=lambda one: (one.started, one.fingerprint))

    def current(self, concept: str, stage: str, chosen: str | None = None) -> "StageSet":
        """The finished set that the next stage reads, or the one whose fingerprint starts with ``chosen`` (``--set``).

        Raises ``StageMissing`` naming the command that makes it.
        """
        folder = self.folder(concept, stage)
        if chosen is not None:
            fitting = [one for one in self.sets(concept, stage) if one.fingerprint.startswith(chosen)]
            if len(fitting) != 1:
                known = ", ".join(one.fingerprint for one in self.sets(concept, stage)) or "none"
                fit = "more than one set" if fitting else "no set"
                raise StageMissing(f"{fit} of {folder} starts with {chosen!r}; there are: {known}")
            return fitting[0]
        try:
            name = (folder / "current").read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            command = COMMANDS.get(stage, stage)
            raise StageMissing(
                f"no {stage} of {concept!r} in {self.root}: run `{command}` first{self._unfinished(concept, stage)}"
            ) from None
        if not re.fullmatch(r"[0-9a-f]{12}", name) or not (folder / name / "settings.json").is_file():
            raise StoreCorrupt(
                f"{folder / 'current'} names a set that is not there; pick another with --set, or delete it"
            )
        return self._opened(concept, stage, folder / name)

    def concepts(self) -> list[str]:
        """Names of the concepts with a run here, sorted."""
        return sorted(file.parent.name for file in self.root.glob("*/concept.json"))

    def remember(self, concept: Concept) -> None:
        """Make ``concept`` the one that commands without ``--concept`` take, and keep it as it is now."""
        self.claim()
        kept = concept.model_dump(mode="json")
        write_atomic(self.folder(concept.name, PAIRS).parent / "concept.json", _pretty(kept))
        write_atomic(self.root / "last", f"{concept.name}\n".encode())

    def begin_with(self, name: str) -> None:
        """Make ``name`` the concept that commands without ``--concept`` take, where there is none yet."""
        if not (self.root / "last").is_file():
            self.claim()
            write_atomic(self.root / "last", f"{name}\n".encode())

    def last_concept(self) -> str:
        """Name of the concept remembered last. Raises ``StageMissing`` where there is none."""
        try:
            return (self.root / "last").read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            raise StageMissing(f"nothing in {self.root} yet: run `ecgvf generate --concept NAME` first") from None

    def concept(self, name: str | None = None) -> Concept:
        """The concept ``name`` (None: the last one) as this store remembers it. Raises ``StageMissing``."""
        name = self.last_concept() if name is None else name
        file = self.folder(name, PAIRS).parent / "concept.json"
        if not file.is_file():
            known = ", ".join(self.concepts()) or "none"
            raise StageMissing(
                f"no run of {name!r} in {self.root} (there: {known}): run `ecgvf generate --concept {name}` first"
            )
        return parse(_read_json(file), str(file))

    def claim(self) -> None:
        """Write the format file, before anything else is written."""
        if not (self.root / "store.json").is_file():
            write_atomic(self.root / "store.json", _pretty({"format": FORMAT}))

    def _check_format(self) -> None:
        file = self.root / "store.json"
        if file.is_file():
            written = _read_json(file).get("format")
            if written != FORMAT:
                raise StoreVersionError(
                    f"the store {self.root} has format {written}, this version of ecgvf reads format {FORMAT}: "
                    f"use the version that wrote it, or another folder with --store"
                )
        elif self.root.is_file():
            raise StoreError(f"{self.root} is a file, not a store: name a folder with --store")
        elif self.root.is_dir() and any(not entry.name.endswith(".tmp") for entry in self.root.iterdir()):
            raise StoreError(
                f"{self.root} holds other files and no store.json: name an empty or new folder with --store"
            )

    def _settings_files(self, concept: str, stage: str) -> list[Path]:
        return sorted(self.folder(concept, stage).glob("*/settings.json"))

    def _opened(self, concept: str, stage: str, folder: Path) -> "StageSet":
        return StageSet(self, concept, stage, folder.name, _read_json(folder / "settings.json")["settings"])

    def _unfinished(self, concept: str, stage: str) -> str:
        begun = [one for one in self.sets(concept, stage) if not one.finished]
        return (
            f" (a run was interrupted after {len(begun[-1].shards())} shards; it goes on from there)" if begun else ""
        )


class StageSet:
    """One stage's output under one fingerprint. Opened by ``Store.stage`` to write, by ``Store.current`` to read."""

    def __init__(self, store: Store, concept: str, stage: str, name: str, settings: JSON) -> None:
        self.store, self.concept, self.stage = store, concept, stage
        self.fingerprint, self.settings = name, settings
        self.path = store.folder(concept, stage) / name
        self._lap = time.monotonic()
        self._log: dict[int, JSON] | None = None
        if self._opening() is not None and fingerprint(self._opening()["settings"]) != name:  # type: ignore[index]
            raise StoreCorrupt(f"{self.path / 'settings.json'} was changed by hand: restore it, or delete {self.path}")

    def __repr__(self) -> str:
        return f"StageSet({str(self.path)!r})"

    # What the set is

    @property
    def finished(self) -> bool:
        """Whether its manifest is written."""
        return (self.path / "manifest.json").is_file()

    @property
    def started(self) -> str:
        """When its first byte was written, ISO 8601 in UTC; empty before that."""
        opening = self._opening()
        return "" if opening is None else str(opening["started"])

    @property
    def manifest(self) -> JSON:
        """The manifest of a finished set. Raises ``StageMissing`` before that."""
        if not self.finished:
            raise StageMissing(f"{self.path} is not finished: run `{COMMANDS.get(self.stage, self.stage)}` to go on")
        return _read_json(self.path / "manifest.json")

    @property
    def summary(self) -> JSON:
        """What the stage told ``finish``."""
        summary: JSON = self.manifest["summary"]
        return summary

    @property
    def seconds(self) -> float:
        """Working time so far, pauses between runs left out."""
        return float(sum(line["seconds"] for line in self._lines().values()))

    @property
    def moved(self) -> list[str]:
        """What differs from the current set, as "setting: old → new"; empty where there is none or this is it."""
        try:
            before = self.store.current(self.concept, self.stage)
        except StageMissing:
            return []
        old, new = _flat(before.settings), _flat(self.settings)
        return [
            f"{key}: {_short(old.get(key))} → {_short(new.get(key))}"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]

    # Writing

    def keep(self, **circumstances: Any) -> JSON:
        """Circumstances that are no settings and yet must not change within a set (batch size, threads).

        They are recorded before the first shard; a resumed run with shards gets those recorded then, whatever it asks.
        """
        self._open(circumstances)
        opening = self._opening() or {}
        if not self.shards() and opening["circumstances"] != circumstances:
            opening["circumstances"] = circumstances
            write_atomic(self.path / "settings.json", _pretty(opening))
        recorded: JSON = opening["circumstances"]
        return recorded

    def done(self, index: int) -> bool:
        """Whether shard ``index`` is there, as it was written. Raises ``StoreCorrupt`` where it was changed since."""
        if not self.shard(index).is_file():
            return False
        self._verify(index)
        return True

    def write_shard(self, index: int, table: pa.Table) -> None:
        """Write shard ``index``, whole or not at all. Raises ``DiskFull``, and ``StoreCorrupt`` on a finished set."""
        if self.finished:
            raise StoreCorrupt(f"{self.path} is finished: its shards are not written again")
        self._open({})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        # The hash is on disk before the shard, so that no shard is ever there without one.
        now = time.monotonic()
        self._note(
            {"shard": index, "sha256": _sha256(data), "rows": table.num_rows, "seconds": round(now - self._lap, 3)}
        )
        self._lap = now
        write_atomic(self.shard(index), data)

    def finish(self, summary: Mapping[str, Any], *, current: bool = True) -> None:
        """Check every shard, write the manifest and make this the current set. A finished set only becomes current.

        One that others stand beside (``current`` False) leaves the current set as it is.
        """
        if not self.finished:
            self._open({})
            files, rows = {}, 0
            for file in self.shards():
                line = self._verify(_index(file))
                files[file.name] = line["sha256"]
                rows += line["rows"]
            opening = self._opening() or {}
            manifest = {
                "concept": self.concept,
                "stage": self.stage,
                "fingerprint": self.fingerprint,
                "settings": self.settings,
                "circumstances": opening.get("circumstances", {}),
                "versions": versions(),
                "started": self.started,
                "ended": _now(),
                "seconds": round(self.seconds, 3),
                "rows": rows,
                "files": files,
                "summary": dict(summary),
            }
            for left_over in self.path.glob("*.tmp"):
                left_over.unlink(missing_ok=True)
            write_atomic(self.path / "manifest.json", _pretty(manifest))
        if current:
            write_atomic(self.path.parent / "current", f"{self.fingerprint}\n".encode())

    def retell(self, summary: Mapping[str, Any]) -> None:
        """Sum a finished set up anew where that has changed: its rows stay, what is known of their making may not."""
        if self.manifest["summary"] != dict(summary):
            write_atomic(self.path / "manifest.json", _pretty({**self.manifest, "summary": dict(summary)}))

    # Reading

    def shard(self, index: int) -> Path:
        """Where shard ``index`` is or will be."""
        return self.path / f"shard-{index:05d}.parquet"

    def shards(self) -> list[Path]:
        """The shards that are there, in order."""
        return sorted(file for file in self.path.glob("shard-*.parquet") if _SHARD.fullmatch(file.name))

    def tables(self) -> Iterator[pa.Table]:
        """The shards in order, one at a time, each checked. Raises ``StoreCorrupt`` naming the file."""
        if self.finished:
            missing = sorted(set(self.manifest["files"]) - {file.name for file in self.shards()})
            if missing:
                raise StoreCorrupt(f"{self.path / missing[0]} is gone: restore it, or delete {self.path} and run again")
        for file in self.shards():
            self._verify(_index(file))
            yield pq.read_table(file)

    def read_shard(self, index: int) -> pa.Table:
        """One shard, checked. Raises ``StoreCorrupt``."""
        self._verify(index)
        return pq.read_table(self.shard(index))

    def read(self) -> pa.Table:
        """All rows, in order. Raises ``StoreCorrupt`` naming a changed file, ``StageMissing`` where there are none."""
        tables = list(self.tables())
        if not tables:
            raise StageMissing(f"{self.path} has no rows yet: run `{COMMANDS.get(self.stage, self.stage)}`")
        return pa.concat_tables(tables)

    # Inside

    def _opening(self) -> JSON | None:
        file = self.path / "settings.json"
        return _read_json(file) if file.is_file() else None

    def _open(self, circumstances: JSON) -> None:
        if self._opening() is None:
            self.store.claim()
            opening = {"settings": self.settings, "circumstances": circumstances, "started": _now()}
            write_atomic(self.path / "settings.json", _pretty(opening))
            self._lap = time.monotonic()

    def _verify(self, index: int) -> JSON:
        """The log's line of a shard, after comparing its hash with the file (and the manifest's, once there)."""
        file = self.shard(index)
        line = self._lines().get(index)
        digest = _sha256(file.read_bytes())
        known = {line["sha256"]} if line else set()
        if self.finished:
            known &= {self.manifest["files"].get(file.name)}
        if line is None or digest not in known:
            raise StoreCorrupt(
                f"{file} is not what was written (changed by hand, or damaged): restore it, "
                f"or delete {self.path} and run `{COMMANDS.get(self.stage, self.stage)}` again"
            )
        return line

    def _lines(self) -> dict[int, JSON]:
        """Shard → its last line in the log; a line that a kill cut short is skipped."""
        if self._log is None:
            self._log = {}
            file = self.path / "log.jsonl"
            for text in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
                try:
                    line = json.loads(text)
                    self._log[line["shard"]] = line
                except (ValueError, KeyError, TypeError):
                    continue
        return self._log

    def _note(self, line: JSON) -> None:
        # The leading newline keeps a line that a kill cut short from swallowing this one.
        file = self.path / "log.jsonl"
        with space_needed(file), file.open("ab") as log:
            log.write(b"\n" + _canonical(line) + b"\n")
            log.flush()
            os.fsync(log.fileno())
        self._lines()[line["shard"]] = line


@contextmanager
def space_needed(path: Path) -> Iterator[None]:
    """Raise ``DiskFull`` or ``StoreError`` where writing to ``path`` fails for want of space or permission."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise DiskFull(
                f"no space left to write {path}: free some, and run the same command again; it goes on from here"
            ) from error
        if error.errno in {errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR}:
            raise StoreError(f"cannot write {path} ({error.strerror}): choose another folder with --store") from error
        raise


def sync_folder(folder: Path) -> None:
    """Flush which files ``folder`` holds: a new file is on the disk, and its name is not before this."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_json(file: Path) -> JSON:
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise StoreCorrupt(f"{file} is not valid JSON: restore it, or delete {file.parent} and run again") from error
    if not isinstance(content, dict):
        raise StoreCorrupt(f"{file} does not hold a JSON object: restore it, or delete {file.parent} and run again")
    return content


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()


def _pretty(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _flat(settings: Mapping[str, Any], under: str = "") -> JSON:
    flat: JSON = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{under}{key}.") if isinstance(value, Mapping) else {f"{under}{key}": value}
    return flat


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def _index(file: Path) -> int:
    found = _SHARD.fullmatch(file.name)
    assert found is not None
    return int(found[1])


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def versions() -> dict[str, str]:
    """Package → version, of what decides pictures and rows."""
    found = {"ecgvf": ecgvf.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
