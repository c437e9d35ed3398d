"""``ecgvf.judge``: a judge from a function."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ecgvf.core.errors import JudgeError
from ecgvf.core.records import Verdict
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import VERDICTS
from ecgvf.filter import filter_images
from ecgvf.judges.custom import judge
from ecgvf.judges.domain import domain_warning
from ecgvf.judges.ensemble import Ensemble
from tests.ecgvf.small_run import write_images

DARK, BRIGHT = np.full((8, 8, 3), 51, np.uint8), np.full((8, 8, 3), 204, np.uint8)
BOTH = np.stack([DARK, BRIGHT])


def brightness(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    assert images.dtype == np.uint8 and images.ndim == 4 and images.shape[-1] == 3
    means: NDArray[np.float64] = images.mean(axis=(1, 2, 3)) / 255
    return means


def test_scores_become_predictions_by_the_threshold() -> None:
    bright = judge(brightness, "brightness", "1")
    predictions = bright.predict(BOTH)
    assert [prediction.score for prediction in predictions] == pytest.approx([0.2, 0.8])
    assert [prediction.present for prediction in predictions] == [False, True]
    assert predictions[1].top_labels == (("brightness", pytest.approx(0.8)),)
    assert [prediction.present for prediction in judge(brightness, "b", "1", threshold=0.2).predict(BOTH)] == [True] * 2


@pytest.mark.parametrize("convert", [list, torch.tensor, np.float32])
def test_scores_may_be_a_list_an_array_or_a_tensor(convert: Any) -> None:
    predictions = judge(lambda images: convert([0.25, 1]), "judge", "1").predict(BOTH)
    assert [prediction.score for prediction in predictions] == [0.25, 1.0]


def test_no_images_need_no_function() -> None:
    assert judge(lambda images: pytest.fail("called"), "judge", "1").predict(BOTH[:0]) == []


def test_the_function_cannot_change_the_images_of_another_judge() -> None:
    def erase(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        images[:] = 0
        return np.zeros(len(images))

    ensemble = Ensemble([judge(erase, "eraser", "1"), judge(brightness, "brightness", "1")], "any")
    assert [prediction.present for prediction in ensemble.predict(BOTH)] == [False, True]


def test_name_version_and_threshold_enter_the_fingerprint(run: ConceptRun) -> None:
    write_images(run.store, run.concept, [(BRIGHT, DARK), (DARK, DARK)])
    result = filter_images(run, judge=judge(brightness, "brightness", "1"))
    assert (result.judge, result.accepted["train"], result.reasons) == ("brightness", 1, {"target_absent": 1})
    verdict = run.current(VERDICTS).records(Verdict)[0]
    assert (verdict.judge, verdict.label_set, verdict.threshold) == ("brightness", "custom", 0.5)
    assert len(verdict.judge_hash) == 16

    def sets(*arguments: Any) -> int:
        filter_images(run, judge=judge(brightness, *arguments))
        return len(run.sets(VERDICTS))

    assert sets("brightness", "1") == 1
    assert sets("brightness", "2") == 2
    assert sets("luminance", "1") == 3
    assert sets("brightness", "1", 0.1) == 4


def test_an_image_that_the_function_refuses_is_rejected_with_its_reason(run: ConceptRun) -> None:
    def picky(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        if (images == 204).any():
            raise ValueError("too bright")
        return np.ones(len(images))

    write_images(run.store, run.concept, [(BRIGHT, DARK)])
    assert filter_images(run, judge=judge(picky, "picky", "1")).reasons == {"judge_failed": 1}
    failures = [verdict.failure for verdict in run.current(VERDICTS).records(Verdict)]
    assert failures == ["too bright", None]


def test_a_custom_judge_gets_no_domain_warning() -> None:
    custom = judge(brightness, "brightness", "1")
    assert domain_warning(custom, "janus-nano") is None and domain_warning(custom, "janus-pro-1b") is None


@pytest.mark.faults
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.5], r"shape \[1\] for 2 images"),
        ([[0.5], [0.5]], r"shape \[2, 1\] for 2 images"),
        (0.5, r"shape \[\] for 2 images"),
        ([0.5, float("nan")], "the score nan"),
        ([0.5, 1.5], r"the score 1\.5"),
        ([-0.5, 0.5], r"the score -0\.5"),
        (["yes", "no"], "returned list, not 2 scores"),
        ([[0.5], [0.5, 0.5]], "returned list, not 2 scores"),
        (None, r"shape \[\] for 2 images"),
        (torch.ones(2, requires_grad=True), "returned Tensor, not 2 scores"),
    ],
)
def test_invalid_scores_are_one_line(scores: Any, message: str) -> None:
    with pytest.raises(JudgeError, match=message) as caught:
        judge(lambda images: scores, "judge", "1").predict(BOTH)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("judge judge returned")


@pytest.mark.faults
@pytest.mark.parametrize("name", ["", "a+b", "a b", "timm:x", "../x", ".x", "x" * 65, "resnet50", "timm", "nano-x", 7])
def test_a_bad_name_is_one_line(name: Any) -> None:
    with pytest.raises(JudgeError, match=r"^judge name ") as caught:
        judge(brightness, name, "1")
    assert "\n" not in str(caught.value)


@pytest.mark.faults
def test_other_bad_arguments_are_one_line() -> None:
    arguments: dict[str, Any] = {"function": brightness, "name": "judge", "version": "1"}
    for wrong, message in (
        ({"function": [0.5]}, "pass a function of images, not list"),
        ({"version": " "}, "version ' ' must be"),
        ({"version": 1}, "version 1 must be"),
        ({"threshold": 1.5}, "threshold 1.5 must be"),
        ({"threshold": float("nan")}, "threshold nan must be"),
        ({"threshold": "0.5"}, "threshold '0.5' must be"),
    ):
        with pytest.raises(JudgeError, match=message) as caught:
            judge(**{**arguments, **wrong})
        assert "\n" not in str(caught.value)
