"""What a user sees of a running training, and the plot of its losses."""

import io
import time
from collections.abc import Callable

from ear.method.log import TrainingLog
from ear.method.recipe import ResolvedRecipe
from ear.method.runs import TrainingRun
from ear.method.state import TrainingState
from ecgvf.core import console
from ecgvf.core.files import write_atomic

Watch = Callable[[TrainingRun, TrainingState], object]
"""Called after each window of a training, of several processes in the first alone: it writes and reports."""

LOSSES = "loss.svg"


class TrainingProgress:
    """A progress bar with the loss, the share of windows that step, and pairs a minute."""

    def __init__(self, bar: console.Bar, description: str) -> None:
        self._bar, self._description = bar, description
        self._begun: tuple[float, int] | None = None  # when the first window ended, and after how many pairs
        self._pairs = self._seen = 0

    def __call__(self, log: TrainingLog) -> None:
        """Show the state of ``log``."""
        for index in range(self._seen, len(log.pair)):
            if not (index and self._continues(log, index)):
                self._pairs += 1 + log.pair[index].count("+")
        self._seen = len(log.pair)
        begun, before = self._begun = self._begun or (time.monotonic(), self._pairs)
        minutes = (time.monotonic() - begun) / 60
        speed = f", {(self._pairs - before) / minutes:.0f} pairs a minute" if minutes > 0.05 else ""
        state = f"loss {log.loss[-1]:.3g}, {log.steps / len(log.loss):.0%} of windows step{speed}"
        self._bar.update(len(log.loss), f"{self._description}: {state}")

    @staticmethod
    def _continues(log: TrainingLog, index: int) -> bool:
        """Whether window ``index`` follows the one before it in the same images."""
        return log.pair[index] == log.pair[index - 1] and log.window[index] > log.window[index - 1]


def plot_losses(run: TrainingRun, log: TrainingLog, resolved: ResolvedRecipe) -> None:
    """Write ``loss.svg`` beside the adapter: what erases and what retains, per position, over the windows."""
    import matplotlib
    from matplotlib.figure import Figure

    plot = Figure(figsize=(7, 3.5), layout="constrained")
    axis = plot.subplots()
    per_position = [loss / resolved.window for loss in log.loss]
    unit = "nats" if resolved.recipe.loss == "kl" else "squared distance"
    axis.plot(per_position, linewidth=0.8, label=f"erasing: {unit} per position")
    if skipped := [index for index, stepped in enumerate(log.stepped) if not stepped]:
        points = [per_position[index] for index in skipped]
        axis.plot(skipped, points, ".", color="0.6", label=f"no step ({len(skipped) / len(log.loss):.0%} of windows)")
    retained = [(index, loss) for index, loss in enumerate(log.retention_loss) if loss is not None]
    if retained:
        axis.plot(*zip(*retained, strict=True), linewidth=0.8, label="retention: nats per rehearsed position")
    axis.set_yscale("log")
    axis.set_xlabel("window")
    axis.set_title(run.path.name, fontsize=10)
    axis.legend(fontsize=8)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "ear"}):  # equal losses make equal files
        plot.savefig(buffer, format="svg", metadata={"Date": None})
    write_atomic(run.path / LOSSES, buffer.getvalue())
