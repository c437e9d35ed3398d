"""The fault campaign in small: one kill per stage. `make faults` kills more often."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def test_stages_that_were_killed_leave_the_bytes_of_stages_that_were_not() -> None:
    command = [sys.executable, "-m", "benchmarks.faults", "--kills", "4", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["kills"], told["equal"], told["met"]) == (4, 4, True)
    assert [*told["stages"]] == ["generate", "render", "filter", "train"]
    assert all(stage["kills"] == 1 for stage in told["stages"].values())
