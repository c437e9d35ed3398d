"""A process's peak memory is its own."""

import subprocess
import sys

import numpy as np

from benchmarks.memory import peak_mb


def test_a_child_does_not_begin_at_its_parents_peak() -> None:
    assert np.ones(200_000_000, np.uint8).all()
    assert peak_mb() > 200
    child = "from benchmarks.memory import peak_mb; print(peak_mb())"
    printed = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
    assert 1 < float(printed) < 100
