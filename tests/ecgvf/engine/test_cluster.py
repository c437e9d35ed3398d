"""A cluster that is there before a command runs, used by processes of their own."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ecgvf.engine import ThisProcess
from tests.contents import contents
from tests.ecgvf.engine.conftest import Head
from tests.ecgvf.engine.squares import fill, squares

pytestmark = [pytest.mark.slow, pytest.mark.faults]


def squares_on(
    head: Head, folder: Path, address: str | None = None, *, killed: bool = False
) -> subprocess.CompletedProcess[str]:
    """A process that fills a set of squares by an actor of ``head``, and may be killed at its first shard."""
    script = f"""
import os, signal
from pathlib import Path
from ecgvf.core.shard_set import ShardSet
from ecgvf.engine.cluster import RayEngine
from tests.ecgvf.engine.squares import fill, squares

write_shard = ShardSet.write_shard

def write(self, index, table):
    write_shard(self, index, table)
    if {killed}:
        os.kill(os.getpid(), signal.SIGKILL)

ShardSet.write_shard = write
print(fill(RayEngine({address!r}, max_workers=1), squares(Path({str(folder)!r}))))
"""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=300)


def test_a_cluster_is_reached_through_rays_client(tmp_path: Path, head: Head) -> None:
    fill(ThisProcess(), squares(tmp_path / "expected"))
    client = squares_on(head, tmp_path / "set", head.client)
    assert client.stdout.endswith("[10]\n"), f"{client.stderr}\n{head.log()}"
    assert contents(tmp_path / "set") == contents(tmp_path / "expected")


def test_a_run_whose_driver_is_killed_is_finished_by_a_cluster_that_is_there(tmp_path: Path, head: Head) -> None:
    fill(ThisProcess(), squares(tmp_path / "expected"))
    killed = squares_on(head, tmp_path / "set", killed=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = squares_on(head, tmp_path / "set")
    assert finished.stdout in {"[7]\n", "[8]\n", "[9]\n"}, finished.stderr  # all but the shard that was written
    assert "connecting to Ray at 127.0.0.1" in finished.stderr  # which `ray start` has named
    assert contents(tmp_path / "set") == contents(tmp_path / "expected")
