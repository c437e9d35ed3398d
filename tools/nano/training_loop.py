"""A training loop that runs for a given time, resumes from its checkpoint and logs its progress."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch


class Stateful(Protocol):
    """A module or an optimizer."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> Any: ...


class TrainingLoop:
    """Yields training steps until ``seconds`` of work are spent, in one call or in several.

    ``folder/checkpoint.pt`` has the states of ``parts``, and ``extra_state``: numbers and tensors that the caller
    updates in place. If the file exists, the loop continues from it and ``resumed`` is true.
    """

    def __init__(
        self,
        folder: Path,
        seconds: float,
        parts: dict[str, Stateful],
        extra_state: dict[str, Any] | None = None,
        *,
        log_every: float = 30.0,
        save_every: float = 180.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.seconds, self.parts, self.extra_state = folder, seconds, parts, extra_state or {}
        self.log_every, self.save_every, self.clock = log_every, save_every, clock
        self.spent, self.step = 0.0, 0
        folder.mkdir(parents=True, exist_ok=True)
        self.resumed = (folder / "checkpoint.pt").exists()
        if self.resumed:
            state = torch.load(folder / "checkpoint.pt", weights_only=True)
            self.spent, self.step = state["spent"], state["step"]
            for name, part in parts.items():
                part.load_state_dict(state[name])
            self.extra_state |= {name: state[name] for name in self.extra_state}

    @property
    def progress(self) -> float:
        """Share of the time that is spent, in [0, 1]."""
        return min(1.0, self.spent / self.seconds)

    def steps(self, metrics: Callable[[], dict[str, Any]]) -> Iterator[int]:
        """Yield step numbers until the time is spent; ``metrics`` gives the values of a line of ``log.jsonl``."""
        logged = saved = self.spent
        while self.spent < self.seconds:
            started = self.clock()
            yield self.step
            self.step += 1
            self.spent += self.clock() - started
            last = self.spent >= self.seconds
            if last or self.spent - logged > self.log_every:
                logged = self.spent
                row = {"seconds": round(self.spent), "step": self.step, **metrics()}
                with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
                    print(json.dumps(row), file=log)
                print(row, flush=True)
            if last or self.spent - saved > self.save_every:
                saved = self.spent
                self._save()

    def _save(self) -> None:
        states = {name: part.state_dict() for name, part in self.parts.items()}
        state = {**states, **self.extra_state, "spent": self.spent, "step": self.step}
        save_atomic(state, self.folder / "checkpoint.pt")


def spent(folder: Path) -> float:
    """Seconds of training up to the checkpoint in `folder`; 0 if there is none."""
    file = folder / "checkpoint.pt"
    return float(torch.load(file, weights_only=True)["spent"]) if file.exists() else 0.0


def save_atomic(state: Any, file: Path) -> None:
    """``torch.save`` to a temporary file, then rename it: a kill at any moment leaves the old file or the new one."""
    temporary = file.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(file)
