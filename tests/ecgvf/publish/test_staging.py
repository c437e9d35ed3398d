"""The folder with the files of a push."""

import errno
import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ecgvf.core.errors import StoreError
from ecgvf.publish import staging
from ecgvf.publish.staging import staging_folder

_HOLD = """
import sys, time
from pathlib import Path
from ecgvf.publish.staging import staging_folder
with staging_folder(Path(sys.argv[1])) as folder:
    folder.mkdir()
    (folder / "shard").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_push_removes_the_folder_of_a_killed_push_but_not_of_a_running_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            theirs = Path(process.stdout.readline().strip())
            with staging_folder(tmp_path) as mine:
                mine.mkdir()
                assert mine != theirs and (theirs / "shard").exists()
            assert not mine.exists() and (theirs / "shard").exists()
        finally:
            process.kill()
    with staging_folder(tmp_path):
        assert not theirs.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_machine_is_listed_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parent, boot_id = tmp_path / "parent", tmp_path / "boot_id"
    boot_id.write_text("another\n")
    with monkeypatch.context() as patch:
        patch.setattr(staging, "BOOT_ID", boot_id)
        # Killed: neither the folder nor the lock is removed.
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with staging_folder(parent) as theirs:
            theirs.mkdir()
    with staging_folder(parent) as mine:
        assert mine != theirs
    assert theirs.is_dir() and "another machine" in capsys.readouterr().err
    monkeypatch.setattr(staging, "BOOT_ID", boot_id)
    with staging_folder(parent):
        assert not theirs.exists()
    assert list(parent.iterdir()) == []


def test_the_lock_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / f"{staging._machine()}.theirs.lock"
    lock.touch()
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == lock:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with staging_folder(tmp_path):
        assert lock.exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write"), staging_folder(tmp_path / "file" / "parent"):
        pass


def test_a_file_system_without_locks_is_one_line_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with (
        pytest.raises(StoreError, match=r"without file locks.*put the store on another disk"),
        staging_folder(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_without_a_boot_id_no_folder_of_others_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "BOOT_ID", tmp_path / "none")
    parent = tmp_path / "parent"
    with staging_folder(parent) as first, staging_folder(parent) as second:
        first.mkdir()
        second.mkdir()
        with staging_folder(parent):
            assert first.is_dir() and second.is_dir()
    assert list(parent.iterdir()) == []
