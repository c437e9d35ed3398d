"""What a judge is: something that looks at pictures and says whether the concept is there, and by which criterion."""

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ecgvf.core.records import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """When a judge says that the concept is there. It is part of a verdict set's settings: another one, another set."""

    label_set: str
    """Name of the labels: "imagenet", "nudenet-strict", ...; "given" for labels from the command line."""
    accepted: tuple[str, ...]
    """The labels that mean that the concept is there. Empty where a judge only tells what it sees."""
    near: tuple[str, ...] = ()
    """Labels that are shown as near misses where one of them is seen instead, and that are never accepted."""
    against: tuple[str, ...] = ()
    """What a zero-shot judge weighs the accepted texts against."""
    top_k: int | None = None
    """An accepted label has to be among the best so many; None where a judge does not rank."""
    threshold: float | None = None
    """The score has to reach this, in [0, 1]; None where there is no bound."""

    def near_miss(self, top_labels: tuple[tuple[str, float], ...]) -> str | None:
        """The near label that was seen where an accepted one would have counted."""
        return next((label for label, _ in top_labels[: self.top_k or 1] if label in self.near), None)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a judge saw in one picture."""

    present: bool
    score: float
    """In [0, 1]: the probability of the accepted labels together, or a detector's best box of an accepted label."""
    top_labels: tuple[tuple[str, float], ...]
    """(label, score), best first."""
    boxes: tuple[Box, ...] = ()
    """What a detector found, best first."""


class Judge(Protocol):
    """Looks for one concept. Loaded once, looks at batches, on a CPU or a GPU."""

    @property
    def name(self) -> str:
        """As ``--judge`` names it."""

    @property
    def weights_hash(self) -> str:
        """Hash of the weights that looked."""

    @property
    def criterion(self) -> Criterion:
        """When the concept counts as seen."""

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        """One reading per picture of RGB uint8 [N, H, W, 3]."""


def settings(judge: Judge) -> dict[str, Any]:
    """Everything about a judge that decides its readings, as JSON."""
    criterion = asdict(judge.criterion)
    return {
        "judge": judge.name,
        "judge_hash": judge.weights_hash,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in criterion.items()},
    }
