"""Several judges combined: ``--judge resnet50+clip --combine all``."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from statistics import median_low
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ecgvf.judges.judge import Criterion, Judge, Prediction

Combine = Literal["all", "any", "majority"]

_SCORE: dict[Combine, Callable[[list[float]], float]] = {"all": min, "any": max, "majority": median_low}


class Ensemble:
    """Sees the concept if all, any, or more than half of its ``judges`` do."""

    def __init__(self, judges: Sequence[Judge], combine: Combine = "all") -> None:
        self.judges = tuple(judges)
        self.combine: Combine = combine
        self.name = "+".join(judge.name for judge in judges)
        self.criterion = Criterion(
            label_set="+".join(judge.criterion.label_set for judge in judges),
            accepted=tuple(dict.fromkeys(label for judge in judges for label in judge.criterion.accepted)),
            near=tuple(f"{label_prefix(judge.name)}{label}" for judge in judges for label in judge.criterion.near),
        )

    @property
    def weights_hash(self) -> str:
        """Hash of the judges' hashes."""
        return hashlib.sha256("+".join(judge.weights_hash for judge in self.judges).encode()).hexdigest()[:16]

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        """One prediction per image of RGB uint8 [N, H, W, 3]."""
        by_judge = [judge.predict(images) for judge in self.judges]
        return [self.combined(predictions) for predictions in zip(*by_judge, strict=True)]

    def combined(self, predictions: Sequence[Prediction]) -> Prediction:
        """Combine the judges' predictions of one image, given in the judges' order.

        The score is the one that decides: the minimum (all), the maximum (any), or the lower median (majority).
        """
        votes = sum(prediction.present for prediction in predictions)
        needed = {"all": len(predictions), "any": 1, "majority": len(predictions) // 2 + 1}[self.combine]
        return Prediction(
            present=votes >= needed,
            score=_SCORE[self.combine]([prediction.score for prediction in predictions]),
            top_labels=tuple(
                (f"{label_prefix(judge.name)}{label}", score)
                for judge, prediction in zip(self.judges, predictions, strict=True)
                for label, score in prediction.top_labels
            ),
            boxes=tuple(box for prediction in predictions for box in prediction.boxes),
        )


def label_prefix(name: str) -> str:
    """What the labels of the judge ``name`` begin with in an ensemble's predictions."""
    return f"{name}: "


def criteria(judge: Judge) -> dict[str, Criterion]:
    """What the labels in a prediction of ``judge`` begin with → the criterion of the judge that they are from."""
    if isinstance(judge, Ensemble):
        return {label_prefix(member.name): member.criterion for member in judge.judges}
    return {"": judge.criterion}


def near_miss(by_prefix: Mapping[str, Criterion], top_labels: tuple[tuple[str, float], ...]) -> str | None:
    """``Criterion.near_miss`` of the first judge of ``criteria`` that has one in a prediction's ``top_labels``."""
    for prefix, criterion in by_prefix.items():
        own = tuple((label.removeprefix(prefix), score) for label, score in top_labels if label.startswith(prefix))
        if (label := criterion.near_miss(own)) is not None:
            return prefix + label
    return None
