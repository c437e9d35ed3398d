"""An image that spoils its batch fails alone."""

import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ecgvf.core.errors import JudgeError
from ecgvf.judges import create_judge
from ecgvf.judges.judge import Prediction
from ecgvf.judges.predictions import load_judge, predict_each
from tests.ecgvf.small_run import ScriptedJudge
from tests.random_vit import save_vit


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


def test_a_judge_that_fails_on_any_image_does_not_load(tmp_path: Path) -> None:
    from transformers import ViTImageProcessor

    source = save_vit(tmp_path, {0: "church", 1: "cat"})
    load_judge(create_judge(None, None, f"hf:{source}"))
    ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(source)  # not the network's size
    with pytest.raises(JudgeError, match=r"^judge hf:\S+ fails on a plain image: Input image size"):
        load_judge(create_judge(None, None, f"hf:{source}"))
