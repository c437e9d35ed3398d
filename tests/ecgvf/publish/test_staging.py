"""Where a push puts its files."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ecgvf.publish import staging
from ecgvf.publish.staging import staged

_HOLD = """
import sys, time
from pathlib import Path
from ecgvf.publish.staging import staged
with staged(Path(sys.argv[1])) as folder:
    folder.mkdir()
    (folder / "shard").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_push_keeps_off_what_another_holds_and_sweeps_what_a_killed_one_left(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            held = Path(other.stdout.readline().strip())
            with staged(tmp_path) as mine:
                mine.mkdir()
                assert mine != held and (held / "shard").exists()
            assert not mine.exists() and (held / "shard").exists()
        finally:
            other.kill()
    with staged(tmp_path):
        assert not held.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_another_machine_left_is_shown_and_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place, elsewhere = tmp_path / "place", tmp_path / "boot_id"
    elsewhere.write_text("elsewhere\n")
    with monkeypatch.context() as patch:
        patch.setattr(staging, "BOOT_ID", elsewhere)
        # Killed: neither the folder nor the lock is removed.
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with staged(place) as theirs:
            theirs.mkdir()
    with staged(place) as mine:
        assert mine != theirs
    assert theirs.is_dir() and "another machine" in capsys.readouterr().err
    monkeypatch.setattr(staging, "BOOT_ID", elsewhere)
    with staged(place):
        assert not theirs.exists()
    assert list(place.iterdir()) == []


def test_where_the_machine_is_unknown_nothing_of_others_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "BOOT_ID", tmp_path / "none")
    place = tmp_path / "place"
    with staged(place) as first, staged(place) as second:
        first.mkdir()
        second.mkdir()
        with staged(place):
            assert first.is_dir() and second.is_dir()
    assert list(place.iterdir()) == []
