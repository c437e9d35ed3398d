"""The fault campaign with one kill per stage, and three of rendering; `make faults` kills ten times as often."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def test_killed_stages_write_the_same_bytes_when_they_are_run_again() -> None:
    command = [sys.executable, "-m", "benchmarks.faults", "--kills", "1", "--pairs", "60", "--seed", "1"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout.splitlines()[-1])
    assert (result["kills"], result["equal"], result["met"]) == (6, 6, True)
    assert result["rendered_twice"] == 0
    assert list(result["stages"]) == ["generate", "render", "filter", "train"]
    assert [stage["kills"] for stage in result["stages"].values()] == [1, 3, 1, 1]
