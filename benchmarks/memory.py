"""Peak memory of a process, on Linux, and whether it grows with the work."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

GOAL = 1.1
"""Most that the peak memory of much work may be over that of little."""


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB (1e6 bytes).

    Of a spawned child it is the child's own: its ``ru_maxrss`` would begin at its parent's peak.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    [kilobytes] = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024 / 1e6


def compare_peaks(measure: Callable[[int, int], dict[str, float]], few: int, many: int, seed: int) -> dict[str, Any]:
    """``measure(images, seed)`` of ``few`` images and of ``many``, each in a process of its own.

    ``measure`` returns ``seconds`` and ``peak_mb``, and what else it finds. Prints a line for each process. Returns
    ``images`` (number → what ``measure`` returned), the ``ratio`` of the peaks, its ``goal``, ``seed`` and ``met``.
    """
    runs = {}
    for images in (few, many):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            runs[images] = process.submit(measure, images, seed).result()
        print(f"{images:>6} images: {runs[images]['peak_mb']:.0f} MB at most, {runs[images]['seconds']:.0f} s")
    ratio = runs[many]["peak_mb"] / runs[few]["peak_mb"]
    return {
        "images": {str(images): run for images, run in runs.items()},
        "ratio": round(ratio, 3),
        "goal": GOAL,
        "seed": seed,
        "met": ratio <= GOAL,
    }
