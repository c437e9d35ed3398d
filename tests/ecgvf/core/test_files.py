import errno
import os
from pathlib import Path

import pytest

from ecgvf.core.errors import DiskFull, StoreError
from ecgvf.core.files import append_line, expanded, is_folder, open_path, write_atomic

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


@pytest.mark.parametrize("folder", [".", "..", "/", "folder"])
def test_a_folder_in_place_of_a_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    for write in (write_atomic, append_line):
        with pytest.raises(StoreError, match=r"is a folder; name a file in it$"):
            write(Path(folder), b"new")
    assert [file.name for file in tmp_path.rglob("*")] == ["folder"]


def test_a_name_that_is_too_long_is_shortened_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*…x{100} \(File name too long\)"):
        write_atomic(tmp_path / ("x" * 300), b"new")
    assert not is_folder(tmp_path / ("x" * 300)) and is_folder(tmp_path)


def test_a_home_folder_that_does_not_exist_is_part_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert (expanded("~/x"), expanded("~no-such-user/x")) == (Path("/home/ada/x"), Path("~no-such-user/x"))


def test_a_torn_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b'{"torn": ')
    append_line(file, b"{}")
    assert file.read_bytes().splitlines() == [b'{"torn": ', b"{}"]


def test_a_folder_in_which_nothing_can_be_made_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in /proc, where making a folder fails as if its parent were missing."""

    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(StoreError, match="choose another folder"):
        write_atomic(tmp_path / "none" / "file", b"")


def test_a_file_url_is_a_local_path(tmp_path: Path) -> None:
    assert open_path(f"file://{tmp_path}/store") == tmp_path / "store"


@pytest.mark.parametrize("url", ["sftp://host/store", "https://host/store", "nowhere://x"])
def test_storage_that_does_not_write_objects_whole_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match=f"cannot open {url}: .* is no object storage; use s3://BUCKET/FOLDER"):
        open_path(url)


def test_storage_that_cannot_be_read_before_a_line_is_appended_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def expired(_: Path) -> bytes:
        raise RuntimeError("token expired")

    path = open_path("memory://store/log.jsonl")
    append_line(path, b"first")
    monkeypatch.setattr(type(path), "read_bytes", expired)
    with pytest.raises(StoreError, match=r"cannot write .*log.jsonl: token expired; run the same command again"):
        append_line(path, b"second")
