"""Killed at any moment and run again, a run writes what it would have written undisturbed."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ecgvf.core.stage_set import PAIRS
from ecgvf.core.store import Store

pytestmark = pytest.mark.faults

SHARDS = 12

# A stage of nothing but shards: what the store promises has to hold for every stage.
RUN = f"""
import sys
import pyarrow as pa
from ecgvf.core.stage_set import PAIRS
from ecgvf.core.store import Store

stage = Store(sys.argv[1]).stage("church", PAIRS, {{"rows": 3000}})
for index in range({SHARDS}):
    if not stage.done(index):
        stage.write_shard(index, pa.table({{"value": [str(index * 3000 + row) * 20 for row in range(3000)]}}))
    print(index, flush=True)
stage.finish({{}})
"""


def run(store: Path, **options: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", RUN, str(store)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def shards(store: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in Store(store).current("church", PAIRS).shards()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    with run(store) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return shards(store)


@pytest.mark.parametrize("moment", [(0, 0.0), (0, 0.004), (3, 0.001), (5, 0.002), (7, 0.008), (SHARDS - 1, 0.0)])
def test_kill_9_and_a_second_run_give_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes], moment: tuple[int, float]
) -> None:
    after, pause = moment
    store = tmp_path / "store"
    with run(store) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == after:
                time.sleep(pause)
                process.send_signal(signal.SIGKILL)
                break
        process.communicate(timeout=120)
    with run(store) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert shards(store) == undisturbed
    assert not list(store.rglob("shard*.tmp"))


def test_a_file_size_limit_is_a_full_disk_and_the_run_goes_on_without_it(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    store = tmp_path / "store"
    small = min(map(len, undisturbed.values())) - 100

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (small, small))

    with run(store, preexec_fn=limit, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "ecgvf.core.errors.DiskFull: no space left" in errors
    with run(store) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert shards(store) == undisturbed
