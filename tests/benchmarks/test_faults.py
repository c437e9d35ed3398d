"""The fault campaign with few kills; `make faults` kills ten times as often."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def test_killed_stages_write_the_same_bytes_when_they_are_run_again() -> None:
    command = [sys.executable, "-m", "benchmarks.faults", "--kills", "1", "--pairs", "12", "--seed", "1"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout.splitlines()[-1])
    assert (result["kills"], result["equal"], result["met"]) == (7, 7, True)
    assert list(result["stages"]) == ["generate", "render", "filter", "train", "render's worker"]
    assert [stage["kills"] for stage in result["stages"].values()] == [1, 3, 1, 1, 1]
