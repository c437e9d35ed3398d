"""A training that lasts a given time, goes on where it was stopped, and says how it goes."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch


class _Part(Protocol):
    """A module or an optimizer."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> Any: ...


class Lesson:
    """Counts seconds of work, whatever lies between two calls, and keeps `parts` and `kept` in a checkpoint.

    `kept` holds what else has to survive: numbers and tensors, changed in place. A lesson made over a folder that has a
    checkpoint starts with its contents, and `resumed` is true.
    """

    def __init__(
        self,
        folder: Path,
        seconds: float,
        parts: dict[str, _Part],
        kept: dict[str, Any] | None = None,
        *,
        report_every: float = 30.0,
        save_every: float = 180.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.seconds, self.parts, self.kept = folder, seconds, parts, kept or {}
        self.report_every, self.save_every, self.clock = report_every, save_every, clock
        self.spent, self.step = 0.0, 0
        folder.mkdir(parents=True, exist_ok=True)
        self.resumed = (folder / "checkpoint.pt").exists()
        if self.resumed:
            state = torch.load(folder / "checkpoint.pt", weights_only=True)
            self.spent, self.step = state["spent"], state["step"]
            for name, part in parts.items():
                part.load_state_dict(state[name])
            self.kept |= {name: state[name] for name in self.kept}

    @property
    def progress(self) -> float:
        """The share of the time that is spent, 0 to 1."""
        return min(1.0, self.spent / self.seconds)

    def steps(self, report: Callable[[], dict[str, Any]]) -> Iterator[int]:
        """The number of each step while there is time; `report` gives the figures of a line of ``log.jsonl``."""
        reported = saved = self.spent
        while self.spent < self.seconds:
            began = self.clock()
            yield self.step
            self.step += 1
            self.spent += self.clock() - began
            last = self.spent >= self.seconds
            if last or self.spent - reported > self.report_every:
                reported = self.spent
                row = {"seconds": round(self.spent), "step": self.step, **report()}
                with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
                    print(json.dumps(row), file=log)
                print(row, flush=True)
            if last or self.spent - saved > self.save_every:
                saved = self.spent
                self._save()

    def _save(self) -> None:
        states = {name: part.state_dict() for name, part in self.parts.items()}
        beside = self.folder / "checkpoint.tmp"
        torch.save({**states, **self.kept, "spent": self.spent, "step": self.step}, beside)
        beside.replace(self.folder / "checkpoint.pt")
