"""Files that are written whole or not at all, and the JSON of the store.

A path may lie on object storage (``open_path``): there, writing an object is atomic by itself, nothing can be appended
to, and nothing locked.
"""

import errno
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ecgvf.core.errors import DiskFull, StoreCorrupt, StoreError

JSON = dict[str, Any]

_OBJECT_STORAGE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}
"""Protocols of fsspec for storage that writes an object whole or not at all."""

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FREE_SOME = "free some, then run the same command again to resume"
_UNUSABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR}
"""What is wrong with a path that a user named."""

_NO_FOLDER = {errno.EEXIST, errno.ENOENT}
"""Of a path to write to: a file is in it, or a folder such as /proc, in which none can be made."""

_SHOWN_CHARACTERS = 200
"""Of a path in a message."""


def open_path(path: str | Path) -> Path:
    """A local path, ``~`` expanded, or a path on object storage for a URL such as ``s3://BUCKET/STORE`` (extra ``s3``).

    The latter is a ``UPath``, which has the methods of ``Path``. Raises ``StoreError`` for a protocol of other storage
    or whose library is missing, and for storage that cannot be read.
    """
    protocol, separator, rest = str(path).partition("://")
    if not separator or protocol == "file":
        return expanded(rest or path)
    if protocol not in _OBJECT_STORAGE:
        raise StoreError(f"cannot open {path}: {protocol}:// is no object storage; use s3://BUCKET/FOLDER, or a folder")
    try:
        from upath import UPath

        # Without a cache of its listings: other machines write there, too.
        remote: Any = UPath(path, use_listings_cache=False)
        remote.fs  # noqa: B018 - raises if the protocol's library is missing
    except ImportError as error:
        raise StoreError(f"cannot open {path}: {error}; s3:// needs pip install 'ecgvf[s3]'") from error
    _check_readable(remote)
    opened: Path = remote
    return opened


def _check_readable(remote: Any) -> None:
    """Raise ``StoreError`` without access to a ``UPath``, or without its bucket; its folder need not be there."""
    try:
        remote.fs.ls(remote.path)
    except FileNotFoundError as error:
        if remote.drive and not remote.fs.exists(remote.drive):
            raise StoreError(f"cannot open {remote}: there is no bucket {remote.drive}; create it first") from error
    except Exception as error:  # each library of fsspec raises its own
        raise StoreError(f"cannot open {remote}: {error}; credentials and endpoint: docs/cluster.md") from error


def is_remote(path: Path) -> bool:
    """Whether ``path`` is on object storage."""
    return not isinstance(path, Path)


def require_local(path: Path, what: str) -> None:
    """Raise ``StoreError`` if ``path``, which is to hold ``what``, is on object storage, where that is not safe."""
    if is_remote(path):
        raise StoreError(
            f"{path} is on object storage, which cannot hold {what}: use a store on a disk (docs/cluster.md)"
        )


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary file, flush it to the disk and rename it to ``path``.

    A kill at any moment leaves the old file or the new one. Raises ``DiskFull``, and ``StoreError`` without permission
    and for a folder.
    """
    if is_remote(path):
        with _storage_errors(path):
            path.write_bytes(data)  # whole or not at all, once it returns
        return
    stream_atomic(path, lambda file: file.write(data))


def stream_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """As ``write_atomic``, on a disk, what ``write`` writes to a file: data that need not fit in memory twice."""
    if path.name in ("", ".."):  # as in "."
        raise _is_a_folder(path)
    with disk_errors(path):
        try:
            _write_and_rename(path, write)
        except FileNotFoundError:  # another process finished the folder, and took the temporary file for a leftover
            _write_and_rename(path, write)
        sync_folder(path.parent)


def _write_and_rename(path: Path, write: Callable[[BinaryIO], object]) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")  # machines that share a store share pids
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def append_line(path: Path, line: bytes) -> None:
    """Append ``line`` and flush it to the disk. Raises as ``write_atomic`` does.

    A newline is written before the line, too, so that an earlier line that was cut short does not swallow it. On object
    storage the whole file is written again, which is safe for one writer at a time.
    """
    if is_remote(path):
        with _storage_errors(path):
            before = path.read_bytes() if path.is_file() else b""
            path.write_bytes(before + b"\n" + line + b"\n")
        return
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(b"\n" + line + b"\n")
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """Raise ``StoreError`` if writing to ``path`` on object storage fails."""
    try:
        yield
    except Exception as error:  # each library of fsspec raises its own
        raise StoreError(f"cannot write {path}: {error}; run the same command again to resume") from error


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise ``DiskFull`` or ``StoreError`` if writing to ``path`` fails for lack of space or permission, or if it is a
    folder."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EISDIR:
            raise _is_a_folder(path) from error
        fault = disk_fault(error)
        if isinstance(fault, DiskFull):
            raise DiskFull(f"no space left to write {path}: {_FREE_SOME}") from error
        if fault is not None or error.errno in _UNUSABLE | _NO_FOLDER:
            raise StoreError(
                f"cannot write {shortened(path)} ({error.strerror}): choose another folder (--store, --out)"
            ) from error
        raise


def disk_fault(error: OSError) -> DiskFull | StoreError | None:
    """``error`` as one of ours if the disk or the quota is full, or if the path that it names cannot be used."""
    if error.errno in _NO_SPACE:
        return DiskFull(f"no space left on the disk: {_FREE_SOME}")
    if error.errno in _UNUSABLE and error.filename is not None:
        path = shortened(str(error.filename))
        return StoreError(f"cannot use {path} ({error.strerror}): name another path, or correct its permissions")
    return None


def _is_a_folder(path: Path) -> StoreError:
    return StoreError(f"cannot write {path}: it is a folder; name a file in it")


def is_folder(path: str | Path) -> bool:
    """Whether ``path`` is a folder that can be looked at: not if its name is too long, or without permission."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def expanded(path: str | Path) -> Path:
    """``path`` with a folder in place of ``~`` or ``~NAME``; as it is if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def shortened(path: str | Path) -> str:
    """``path`` for a message, without the middle of a very long one."""
    text = str(path)
    half = _SHOWN_CHARACTERS // 2
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:half]}…{text[-half:]}"


def lock_file(handle: int, path: Path) -> None:
    """Lock the open file ``path`` for this process until it is closed; the system releases it if the process is killed.

    Raises ``BlockingIOError`` if another process has locked it, ``StoreError`` on a file system without locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        raise StoreError(
            f"{path} is on a file system without file locks ({error.strerror}): put the store on another disk"
        ) from error


def sync_folder(folder: Path) -> None:
    """Flush the entries of ``folder`` to the disk: syncing a new file does not sync its name."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(file: Path) -> JSON:
    """The JSON object in ``file``. Raises ``StoreCorrupt``."""
    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise StoreCorrupt(f"{file} is not a JSON object: restore it, or delete {file.parent} and run again")
    return content


def canonical_json(content: Mapping[str, Any]) -> bytes:
    """``content`` with sorted keys and no spaces: what is hashed."""
    return json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()


def content_hash(content: Mapping[str, Any], digits: int = 16) -> str:
    """``digits`` hex digits of the SHA-256 of ``content``, whatever the order of its keys."""
    return hashlib.sha256(canonical_json(content)).hexdigest()[:digits]


def pretty_json(content: Mapping[str, Any]) -> bytes:
    """``content`` indented, for files that people open."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
