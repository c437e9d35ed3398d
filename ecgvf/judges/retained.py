"""Judges of retained concepts: a classifier that has a label for the concept sees it if that label comes first."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ecgvf.core.errors import JudgeError
from ecgvf.judges.ensemble import Ensemble
from ecgvf.judges.factory import RETAINED_JUDGE, JudgeOptions, create_judge
from ecgvf.judges.judge import Criterion, Judge, Prediction

if TYPE_CHECKING:
    from ecgvf.judges.classifier import Classifier


@dataclass(frozen=True)
class RetainedJudges:
    """The classifiers among the concept's judges, then ResNet-50: the first with a label for a concept judges it."""

    judge: Judge
    """The judge of the concept that is erased."""
    photographs: bool = True
    """Whether ResNet-50 can judge the images; it cannot judge those of nano's world."""
    weights: str | None = None
    """Weights of ResNet-50, a file or a published name (None: torchvision's default)."""
    device: str = "auto"

    def of(self, name: str) -> "Classifier | None":
        """The classifier for the retained concept ``name``; None if none has a label for it.

        Raises ``JudgeError`` if its weights are missing.
        """
        return next((judge for judge in self._judges if judge.class_index(name) is not None), None)

    def settings(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """What decides the verdicts on ``names``, as JSON."""
        found = {judge.name: judge for name in names if (judge := self.of(name)) is not None}
        return [{"judge": name, "judge_hash": judge.weights_hash} for name, judge in sorted(found.items())]

    @cached_property
    def _judges(self) -> "list[Classifier]":
        from ecgvf.judges.classifier import Classifier  # PyTorch takes seconds

        own = self.judge.judges if isinstance(self.judge, Ensemble) else [self.judge]
        judges = [judge for judge in own if isinstance(judge, Classifier)]
        if self.photographs and all(judge.name != RETAINED_JUDGE for judge in judges):
            options = JudgeOptions(weights=self.weights)
            judges.append(cast(Classifier, create_judge(None, None, RETAINED_JUDGE, options, self.device)))
        return judges


def predict(judge: "Classifier", images: NDArray[np.uint8], names: Sequence[str]) -> list[Prediction]:
    """Whether image i of RGB uint8 [N, H, W, 3] shows the retained concept ``names[i]``: if its label comes first.

    Raises ``JudgeError`` for a name that the judge has no label for.
    """
    from ecgvf.judges.classifier import top_k_prediction

    predictions = []
    for probabilities, name in zip(judge.probabilities(images), names, strict=True):
        index = judge.class_index(name)
        if index is None:
            raise JudgeError(f"judge {judge.name} has no label for {name!r}")
        predictions.append(top_k_prediction(probabilities, judge.labels, [index], Criterion.top1(name)))
    return predictions
