"""An image that spoils its batch fails alone."""

import weakref
from collections.abc import Sequence

import numpy as np
import pytest

from ecgvf.core.errors import JudgeError
from ecgvf.judges.judge import Prediction
from ecgvf.judges.predictions import predict_each
from tests.ecgvf.small_run import ScriptedJudge


def test_a_batch_that_fails_is_freed_before_its_images_are_judged_alone() -> None:
    class Batch:
        pass

    tried: list[weakref.ref[Batch]] = []

    def predict(images: Sequence[int]) -> list[Prediction]:
        assert not any(reference() for reference in tried), "still in memory"
        batch = Batch()
        tried.append(weakref.ref(batch))
        if 2 in images:
            raise ValueError("broken")
        return [Prediction(present=True, score=1.0, top_labels=()) for _ in images]

    found = predict_each(ScriptedJudge([]), [1, 2, 3], predict)
    assert [isinstance(each, Prediction) for each in found] == [True, False, True] and found[1] == "broken"
    assert len(tried) == 4


def test_a_judge_that_returns_too_few_predictions_is_named() -> None:
    judge = ScriptedJudge([True])
    with pytest.raises(JudgeError, match="judge scripted returned 1 predictions for 2 images: return one per image"):
        predict_each(judge, list(np.zeros((2, 8, 8, 3), np.uint8)), lambda images: judge.predict(np.stack(images)))
