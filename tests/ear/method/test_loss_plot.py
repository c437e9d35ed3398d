"""The plot of a training's losses."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from ear.method.log import TrainingLog
from ear.method.loss_plot import FILE, plot_losses
from ear.method.recipes import PAPER
from ear.method.runs import TrainingRun
from tests.ear.method.small_training import resolved


def test_a_shorter_last_window_is_divided_by_its_own_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    plot = Axes.plot

    def recorded(self: Axes, *args: Any, **settings: Any) -> Any:
        drawn.append(args[0])
        return plot(self, *args, **settings)

    monkeypatch.setattr(Axes, "plot", recorded)
    log = TrainingLog()
    for number, loss in enumerate((10.0, 5.0, 5.0, 1.0)):  # of 5, 5, 5 and 1 of 16 image tokens
        log.add("1", number, loss, stepped=True)
    plot_losses(TrainingRun(tmp_path), log, resolved(PAPER, window=5))
    assert drawn == [[2.0, 1.0, 1.0, 1.0]]
    assert (tmp_path / FILE).read_bytes().startswith(b"<?xml")
