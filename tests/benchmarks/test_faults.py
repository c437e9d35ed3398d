"""The fault campaign with few kills; `make faults` kills ten times as often."""

import json
import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import faults

pytestmark = pytest.mark.faults


@pytest.mark.slow
def test_killed_stages_write_the_same_bytes_when_they_are_run_again() -> None:
    command = [sys.executable, "-m", "benchmarks.faults", "--kills", "1", "--pairs", "12", "--seed", "1"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout.splitlines()[-1])
    assert (result["kills"], result["equal"], result["met"]) == (7, 7, True)
    assert list(result["stages"]) == ["generate", "render", "filter", "train", "render's worker"]
    assert [stage["kills"] for stage in result["stages"].values()] == [1, 3, 1, 1, 1]


def test_a_stage_that_something_else_kills_is_no_run_to_compare_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = multiprocessing.get_context("spawn").Process(target=signal.raise_signal, args=(signal.SIGKILL,))
    child.start()
    monkeypatch.setattr(faults, "_start", lambda *_: child)
    with pytest.raises(SystemExit, match="_render failed with exit code -9"):
        faults._run(faults._render, tmp_path, "model", pairs=1)
