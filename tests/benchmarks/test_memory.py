"""A process's peak memory is its own, and its growth is measured."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks.memory import compare_peaks, peak_mb


def test_a_child_does_not_begin_at_its_parents_peak() -> None:
    assert np.ones(200_000_000, np.uint8).all()
    assert peak_mb() > 200
    child = "from benchmarks.memory import peak_mb; print(peak_mb())"
    printed = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
    assert 1 < float(printed) < 100


def hold(images: int, seed: int) -> dict[str, float]:
    """Hold as many MB as there are images, in a process of its own."""
    assert np.ones(images * 1_000_000, np.uint8).all()
    return {"seconds": 0.0, "peak_mb": peak_mb(), "seed": seed}


@pytest.mark.parametrize(("many", "met"), [(2, True), (400, False)])
def test_peaks_are_of_each_process_and_grow_by_a_tenth_at_most(many: int, met: bool) -> None:
    result = compare_peaks(hold, 1, many, seed=3)
    little, much = result["images"]["1"], result["images"][str(many)]
    assert little["seed"] == much["seed"] == result["seed"] == 3
    assert result["ratio"] == round(much["peak_mb"] / little["peak_mb"], 3)
    assert (result["goal"], result["met"]) == (1.1, met)
