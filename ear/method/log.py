"""The log of a training: the loss of each window, and whether it took a step."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(slots=True)
class TrainingLog:
    """One entry per window, in order, and the time that they took."""

    pair: list[str] = field(default_factory=list)
    """Record ids, joined by "+" if a step takes several."""
    window: list[int] = field(default_factory=list)
    """Number of the window within its trajectory, from 0."""
    loss: list[float] = field(default_factory=list)
    """Erasing loss before the step: the sum over the window, the mean over the step's images."""
    retention_loss: list[float | None] = field(default_factory=list)
    """Mean divergence per position of rehearsed images, in nats; None without rehearsal or a step."""
    stepped: list[bool] = field(default_factory=list)
    seconds: float = field(default=0.0, compare=False)
    """How long training took; of a process that was interrupted, until its last checkpoint."""

    @property
    def steps(self) -> int:
        """Number of windows that took a step."""
        return sum(self.stepped)

    def add(self, pair: str, window: int, loss: float, stepped: bool, retention_loss: float | None = None) -> None:
        """Append a window."""
        self.pair.append(pair)
        self.window.append(window)
        self.loss.append(loss)
        self.retention_loss.append(retention_loss)
        self.stepped.append(stepped)

    def json(self) -> dict[str, Any]:
        """As run.json and checkpoints hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The log that ``json`` returned."""
        return cls(**content)
