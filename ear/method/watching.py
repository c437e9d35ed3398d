"""What a user sees of a running training, and the plot of its losses."""

import io
import math
import time
from collections.abc import Callable

from ear.method.log import TrainingLog
from ear.method.recipe import ResolvedRecipe
from ear.method.runs import TrainingRun
from ear.method.schedule import count_windows, windows_per_pair
from ear.method.state import TrainingState
from ecgvf.core import console
from ecgvf.core.files import write_atomic

Watch = Callable[[TrainingRun, TrainingState], object]
"""Called after each window of a training, of several processes in the first alone: it writes and reports."""

LOSSES = "loss.svg"
NOTE_SECONDS = 60.0
"""Between two lines of a training that no terminal shows."""


class TrainingProgress:
    """The loss, the share of windows that step, pairs a minute and the time left: in a terminal a progress bar,
    elsewhere a line each minute."""

    def __init__(self, bar: console.Bar, description: str, pairs: int, resolved: ResolvedRecipe) -> None:
        """``pairs``: how many the training has."""
        self._bar, self._description = bar, description
        self._total, self._per_pair = count_windows(pairs, resolved), windows_per_pair(resolved)
        self._begun: tuple[float, int, int] | None = None  # when the first window ended, and its two counts
        self._trained = self._seen = 0  # windows, those of each image of a step counted; entries of the log
        self._noted = time.monotonic()

    def __call__(self, log: TrainingLog) -> None:
        """Show the state of ``log``."""
        self._trained += sum(1 + pair.count("+") for pair in log.pair[self._seen :])
        self._seen = len(log.pair)
        now = time.monotonic()
        begun, trained, seen = self._begun = self._begun or (now, self._trained, self._seen)
        minutes = (now - begun) / 60
        state = f"loss {log.loss[-1]:.3g}, {log.steps / self._seen:.0%} of windows step"
        if minutes > 0.05:
            state += f", {(self._trained - trained) / self._per_pair / minutes:.0f} pairs a minute"
        self._bar.update(self._seen, f"{self._description}: {state}")
        if not console.err.is_terminal and now - self._noted >= NOTE_SECONDS:
            self._noted = now
            if self._seen > seen:
                left = (self._total - self._seen) * minutes / (self._seen - seen)
                state += f", about {max(0, math.ceil(left))} min left"
            console.note(console.escape(f"{self._description}: window {self._seen:,} of {self._total:,}, {state}"))


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
