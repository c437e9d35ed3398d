"""A run that is killed at any moment and run again writes what an uninterrupted run writes."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ecgvf.core import concepts
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS
from ecgvf.core.store import Store

pytestmark = pytest.mark.faults

SHARDS = 12

# A stage of nothing but shards: what holds for it holds for every stage that `fill`s its set. It prints the number of
# each shard before writing it, and in the end it waits for standard input to close, so that no kill comes too late.
SCRIPT = f"""
import sys
import pyarrow as pa
from ecgvf.core import concepts
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS
from ecgvf.core.store import Store

def work(values, circumstances, advance):
    print(values[0] // 3000, flush=True)
    return pa.table({{"value": [str(value) * 20 for value in values]}})

pairs = ConceptRun(Store(sys.argv[1]), concepts.find("church")).stage_set(PAIRS, {{"rows": 3000}})
pairs.fill([range(shard * 3000, (shard + 1) * 3000) for shard in range({SHARDS})], work, description="rows")
print({SHARDS}, flush=True)
pairs.finish({{}})
sys.stdin.read()
"""


def start(store: Path, **options: object) -> "subprocess.Popen[str]":
    command, pipe = [sys.executable, "-c", SCRIPT, str(store)], subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **options)  # type: ignore[call-overload,no-any-return]


def complete(store: Path) -> dict[str, bytes]:
    """Run the script to its end, and return its shards by file name."""
    with start(store) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    pairs = ConceptRun(Store(store), concepts.find("church")).current(PAIRS)
    return {file.name: file.read_bytes() for file in pairs.shards()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return complete(tmp_path_factory.mktemp("uninterrupted") / "store")


@pytest.mark.parametrize(("shard", "pause"), [(0, 0.0), (0, 0.004), (3, 0.001), (5, 0.002), (7, 0.008), (SHARDS, 0.0)])
def test_kill_9_and_a_second_run_give_the_same_bytes(
    tmp_path: Path, expected: dict[str, bytes], shard: int, pause: float
) -> None:
    store = tmp_path / "store"
    with start(store) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == shard:
                time.sleep(pause)
                process.send_signal(signal.SIGKILL)
                break
        process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert complete(store) == expected
    assert not list(store.rglob("shard*.tmp"))


def test_a_full_disk_stops_the_run_and_a_second_run_resumes(tmp_path: Path, expected: dict[str, bytes]) -> None:
    store = tmp_path / "store"
    limit = min(map(len, expected.values())) - 100

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with start(store, preexec_fn=limit_file_size, env=environment) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "ecgvf.core.errors.DiskFull: no space left" in errors
    assert complete(store) == expected
