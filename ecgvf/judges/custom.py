"""Your own judge, from a function: ``ecgvf.judge(function, name, version)``."""

import hashlib
import re
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgvf.core.errors import JudgeError
from ecgvf.judges.factory import NAMES
from ecgvf.judges.judge import Criterion, Prediction
from ecgvf.world.domain import is_nano_judge

ScoreFunction = Callable[[NDArray[np.uint8]], ArrayLike]
"""RGB uint8 [N, H, W, 3] → scores in [0, 1], shape [N]: an array, a list or a CPU tensor."""


class CustomJudge:
    """Sees the concept in an image if its score is at least ``threshold``. ``ecgvf.judge`` is its public name.

    ``function`` takes images, RGB uint8 [N, H, W, 3] with N >= 1, and returns their scores in [0, 1], of shape [N].
    ``name`` (letters, digits and ``._-``) and ``version`` enter the fingerprint of the verdicts: change ``version``
    whenever the function's scores change, so that the images are judged again.

    Raises ``JudgeError`` for an invalid argument, and from ``predict`` if the function returns another shape, NaN or a
    score outside [0, 1]. A ``ValueError``, ``RuntimeError`` or ``OSError`` of the function rejects the image that
    causes it (``judge_failed``); any other exception, and a failing GPU, ends the run.
    """

    def __init__(self, function: ScoreFunction, name: str, version: str, threshold: float = 0.5) -> None:
        if not callable(function):
            raise JudgeError(f"judge {name!r}: pass a function of images, not {type(function).__name__}")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise JudgeError(
                f"judge name {name!r}: use up to 64 letters, digits and ._-, starting with a letter or digit"
            )
        if is_nano_judge(name) or name in {builtin.partition(":")[0] for builtin in NAMES}:
            raise JudgeError(f"judge name {name!r} is taken by a judge of this package: use another name")
        if not isinstance(version, str) or not version.strip():
            raise JudgeError(f"judge {name}: version {version!r} must be a string that is not empty")
        if not isinstance(threshold, int | float | np.floating) or not 0 <= threshold <= 1:
            raise JudgeError(f"judge {name}: threshold {threshold!r} must be a number between 0 and 1")
        self.name = name
        self.weights_hash = hashlib.sha256(f"{name}\0{version}".encode()).hexdigest()[:16]
        self.criterion = Criterion(label_set="custom", accepted=(name,), threshold=float(threshold))
        self._function = function
        self._threshold = float(threshold)

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        """One prediction per image of RGB uint8 [N, H, W, 3]. Raises ``JudgeError`` for invalid scores."""
        if not len(images):
            return []
        return [
            Prediction(present=score >= self._threshold, score=score, top_labels=((self.name, score),))
            for score in self._scores(images)
        ]

    def _scores(self, images: NDArray[np.uint8]) -> list[float]:
        returned = self._function(images.copy())  # the caller's images stay as they are, whatever the function does
        try:
            scores = np.asarray(returned, dtype=np.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            kind = type(returned).__name__
            raise JudgeError(f"judge {self.name} returned {kind}, not {len(images)} scores between 0 and 1") from error
        if scores.shape != (len(images),):
            raise JudgeError(
                f"judge {self.name} returned scores of shape {list(scores.shape)} for {len(images)} images: return "
                f"one score per image, shape [{len(images)}]"
            )
        invalid = scores[~((scores >= 0) & (scores <= 1))]  # NaN compares false
        if len(invalid):
            raise JudgeError(
                f"judge {self.name} returned the score {invalid[0]}: return scores between 0 and 1, without NaN"
            )
        scores_list: list[float] = scores.tolist()
        return scores_list


judge = CustomJudge
