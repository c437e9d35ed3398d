"""Several judges at once: ``--judge resnet50+clip --combine all``."""

import hashlib
from collections.abc import Callable, Sequence
from statistics import median_low
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ecgvf.judges.judge import Criterion, Judge, Prediction

Combine = Literal["all", "any", "majority"]

_SCORE: dict[Combine, Callable[[list[float]], float]] = {"all": min, "any": max, "majority": median_low}


class Ensemble:
    """Sees the concept where all, any, or more than half of its ``judges`` do."""

    def __init__(self, judges: Sequence[Judge], combine: Combine = "all") -> None:
        self.judges = tuple(judges)
        self.combine: Combine = combine
        self.name = "+".join(judge.name for judge in judges)
        accepted = tuple(dict.fromkeys(label for judge in judges for label in judge.criterion.accepted))
        near = tuple(f"{judge.name}: {label}" for judge in judges for label in judge.criterion.near)  # as it is seen
        label_set = "+".join(judge.criterion.label_set for judge in judges)
        self.criterion = Criterion(label_set=label_set, accepted=accepted, near=near)

    @property
    def weights_hash(self) -> str:
        """A hash over the judges' own."""
        return hashlib.sha256("+".join(judge.weights_hash for judge in self.judges).encode()).hexdigest()[:16]

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        """One reading per picture of RGB uint8 [N, H, W, 3]."""
        seen = [judge.predict(images) for judge in self.judges]
        return [self.agree(readings) for readings in zip(*seen, strict=True)]

    def agree(self, readings: Sequence[Prediction]) -> Prediction:
        """One reading of the judges' readings of one picture, in the judges' order.

        The score is the one that decides: the least, the greatest, or the lower median.
        """
        yes = sum(reading.present for reading in readings)
        needed = {"all": len(readings), "any": 1, "majority": len(readings) // 2 + 1}[self.combine]
        labels = [
            (f"{judge.name}: {label}", score)
            for judge, reading in zip(self.judges, readings, strict=True)
            for label, score in reading.top_labels
        ]
        return Prediction(
            present=yes >= needed,
            score=_SCORE[self.combine]([reading.score for reading in readings]),
            top_labels=tuple(labels),
            boxes=tuple(box for reading in readings for box in reading.boxes),
        )
