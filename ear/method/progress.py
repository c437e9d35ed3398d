"""What a user sees of a running training."""

import math
import time

from ear.method.log import TrainingLog
from ear.method.recipe import ResolvedRecipe
from ear.method.rounds import count_windows, most_steps, windows_per_pair
from ecgvf.core import console

NOTE_SECONDS = 60.0
"""Time between two lines, where there is no terminal for a bar."""


class TrainingProgress:
    """Shows the loss, the share of windows that step, pairs a minute and the time left: as a bar in a terminal, else in
    a line a minute."""

    def __init__(self, bar: console.Bar, description: str, pairs: int, resolved: ResolvedRecipe) -> None:
        """``bar`` has ``most_steps`` steps. ``pairs``: number of training pairs."""
        self._bar, self._description = bar, description
        self._windows, self._steps = count_windows(pairs, resolved), most_steps(pairs, resolved)
        self._per_pair = windows_per_pair(resolved)
        self._begun: tuple[float, int, int] | None = None  # when the first window ended, and its two counts
        self._trained = self._seen = 0  # windows, those of each image of a step counted; entries of the log
        self._noted = time.monotonic()

    def __call__(self, log: TrainingLog) -> None:
        """Show the state of ``log``."""
        self._trained += sum(1 + pair.count("+") for pair in log.pair[self._seen :])
        self._seen = len(log.pair)
        # Training ends with its last window or its last step: the bar shows which is nearer.
        done = max(log.steps, self._seen * self._steps // self._windows)
        now = time.monotonic()
        begun, trained, before = self._begun = self._begun or (now, self._trained, done)
        minutes = (now - begun) / 60
        state = f"loss {log.loss[-1]:.3g}, {log.steps / self._seen:.0%} of windows step"
        if minutes > 0.05:
            state += f", {(self._trained - trained) / self._per_pair / minutes:.0f} pairs a minute"
        self._bar.update(done, f"{self._description}: {state}")
        if not console.err.is_terminal and now - self._noted >= NOTE_SECONDS:
            self._noted = now
            if done > before:
                left = (self._steps - done) * minutes / (done - before)
                state += f", about {math.ceil(left)} min left"
            if self._steps < self._windows:
                state = f"step {log.steps:,} of {self._steps:,}, {state}"
            console.note(f"{self._description}: window {self._seen:,} of {self._windows:,}, {state}")
