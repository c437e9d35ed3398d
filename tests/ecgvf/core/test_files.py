import errno
import os
from pathlib import Path

import pytest

from ecgvf.core.errors import DiskFull, StoreError
from ecgvf.core.files import append_line, flatten, write_atomic

pytestmark = pytest.mark.faults


def fail_fsync(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fsync(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    file = tmp_path / "file"
    write_atomic(file, b"old")
    fail_fsync(monkeypatch, code)
    with pytest.raises(DiskFull, match=r"no space left.*run the same command again"):
        write_atomic(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR])
def test_missing_permission_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    fail_fsync(monkeypatch, code)
    with pytest.raises(StoreError, match=r"cannot write .*file \(.*\): choose another folder \(--store, --out\)"):
        write_atomic(tmp_path / "file", b"new")


def test_a_torn_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b'{"torn": ')
    append_line(file, b"{}")
    assert file.read_bytes().splitlines() == [b'{"torn": ', b"{}"]


def test_flatten_joins_nested_keys_with_dots() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": [2]}) == {"a.b.c": 1, "d": [2]}


def test_a_folder_in_which_nothing_can_be_made_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in /proc, where making a folder fails as if its parent were missing."""

    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(StoreError, match="choose another folder"):
        write_atomic(tmp_path / "none" / "file", b"")
