"""What a user sees of a running training."""

from types import SimpleNamespace
from typing import Any

import pytest

from ear.method.log import TrainingLog
from ear.method.watching import TrainingProgress


@pytest.mark.parametrize(
    ("windows", "speed"),
    [
        # Both windows of each pair, in order.
        ([("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0)], 1),
        # One random window of each pair.
        ([("a", 3), ("b", 1), ("c", 2), ("a", 3), ("a", 2)], 2),
        # Two pairs a step.
        ([("a+b", 0), ("c+d", 0), ("a+b", 0)], 4),
    ],
)
def test_pairs_a_minute_are_counted_whichever_windows_take_a_step(
    windows: list[tuple[str, int]], speed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    bar: Any = SimpleNamespace(update=lambda done, description: shown.append(description))
    progress, log = TrainingProgress(bar, "erasing church"), TrainingLog()
    for number, (pair, window) in enumerate(windows):  # every half a minute
        clock = SimpleNamespace(monotonic=lambda number=number: 30.0 * number)
        monkeypatch.setattr("ear.method.watching.time", clock)
        log.add(pair, window, loss=0.5, stepped=True)
        progress(log)
    assert f", {speed} pairs a minute" in shown[-1]
    assert "loss 0.5, 100% of windows step" in shown[-1] and "pairs a minute" not in shown[0]
