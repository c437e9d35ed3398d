"""Where a push puts its files."""

import subprocess
import sys
from pathlib import Path

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
