"""What a user sees of a running training."""

import math
import time

from ear.method.log import TrainingLog
from ear.method.recipe import ResolvedRecipe
from ear.method.rounds import count_windows, windows_per_pair
from ecgvf.core import console

NOTE_SECONDS = 60.0
"""Time between two lines, where there is no terminal for a bar."""


class TrainingProgress:
    """Shows the loss, the share of windows that step, pairs a minute and the time left: as a bar in a terminal, else in
    a line a minute."""

    def __init__(self, bar: console.Bar, description: str, pairs: int, resolved: ResolvedRecipe) -> None:
        """``pairs``: number of training pairs."""
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
            console.note(f"{self._description}: window {self._seen:,} of {self._total:,}, {state}")
