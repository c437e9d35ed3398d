"""Who judges a retained concept, and when it is seen."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ecgvf.core.errors import JudgeError
from ecgvf.core.png import encode
from ecgvf.core.records import Rendering, Verdict, to_table
from ecgvf.filter.verdicts import VerdictWorker, judge_renderings, judge_retained
from ecgvf.judges import retained
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.custom import CustomJudge
from ecgvf.judges.ensemble import Ensemble
from ecgvf.judges.judge import Criterion, Judge
from ecgvf.judges.retained import RetainedJudges, predict

BLACK, WHITE = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)


class ByBrightness(Classifier):
    """Sees the first class in dark images and the last in light ones; fails on an image of one grey."""

    weights_hash = "0"  # type: ignore[assignment]

    def __init__(self, name: str, *classes: Sequence[str]) -> None:
        super().__init__(name, classes, Criterion.top1())

    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        if (images == 128).all(axis=(1, 2, 3)).any():
            raise ValueError("too grey")
        rows = torch.full((len(images), len(self.labels)), 0.01)
        for row, image in zip(rows, images, strict=True):
            row[-1 if image.mean() > 127 else 0] = 0.9
        return rows


@pytest.fixture(autouse=True)
def _resnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retained, "create_judge", lambda *_: ByBrightness("resnet50", ["castle"], ["tench"]))


def rendering(record_id: str, image: NDArray[np.uint8]) -> Rendering:
    png = encode(image)
    return Rendering(
        record_id=record_id, role="target", seed=0, renderer="r", prompt_sent="p", image=png, vq_ids=(1,), failure=None
    )


def test_the_concepts_own_judge_comes_first_and_resnet_judges_the_rest() -> None:
    judges = RetainedJudges(ByBrightness("own", ["church"], ["beacon", "lighthouse"]))
    names = {name: judge and judge.name for name in ("Lighthouse", "castle", "nobody") for judge in [judges.of(name)]}
    assert names == {"Lighthouse": "own", "castle": "resnet50", "nobody": None}
    assert judges.settings(["castle", "lighthouse", "nobody"]) == [
        {"judge": "own", "judge_hash": "0"},
        {"judge": "resnet50", "judge_hash": "0"},
    ]


def test_the_classifiers_of_an_ensemble_judge_and_a_judge_without_labels_leaves_it_to_resnet() -> None:
    scores = CustomJudge(lambda images: np.zeros(len(images)), "scores", "1")
    own: Judge = ByBrightness("own", ["beacon"])
    for judge, expected in ((Ensemble([scores, own]), "own"), (scores, None)):
        found = RetainedJudges(judge).of("beacon")
        assert (found and found.name) == expected


def test_resnet_judges_no_images_of_nano() -> None:
    assert RetainedJudges(ByBrightness("nano-object-a", ["church"]), photographs=False).of("castle") is None


def test_a_concept_is_seen_if_its_label_comes_first() -> None:
    judge = ByBrightness("own", ["castle"], ["tench"])
    seen = predict(judge, np.stack([BLACK, BLACK, WHITE]), ["castle", "tench", "tench"])
    assert [prediction.present for prediction in seen] == [True, False, True]
    assert seen[1].score == pytest.approx(0.01) and seen[1].top_labels[0][0] == "castle"
    with pytest.raises(JudgeError, match="own has no label for 'dog'"):
        predict(judge, BLACK[None], ["dog"])


def test_each_record_gets_its_own_verdict_in_order() -> None:
    """One that no judge can name, one that its judge fails on, and those of other splits."""
    images = [BLACK, WHITE, np.full_like(BLACK, 128), BLACK, BLACK]
    renderings = [rendering(str(index), image) for index, image in enumerate(images)]
    subjects = {"0": "castle", "1": "castle", "2": "castle", "3": "hotel"}
    found = judge_retained(RetainedJudges(ByBrightness("own", ["church"])), renderings, subjects)
    assert [verdict.record_id for verdict in found] == ["0", "1", "2", "3"]
    assert [verdict.present for verdict in found] == [True, False, False, False]
    assert [verdict.failure for verdict in found] == [None, None, "too grey", "no judge has a label for 'hotel'"]
    assert found[0].judge == "resnet50"


def test_each_image_gets_one_verdict_of_an_ensemble() -> None:
    members = [ByBrightness(name, ["church"], ["castle"]) for name in ("first", "second")]
    renderings, ensemble = [rendering("0", BLACK), rendering("1", BLACK)], Ensemble(members)
    by_member = [to_table(Verdict, judge_renderings(member, renderings)) for member in members]
    worker = VerdictWorker(ensemble, RetainedJudges(ensemble), {"1": "castle"})
    verdicts = worker([to_table(Rendering, renderings), *by_member], {"threads": 1}, lambda _: None)
    assert verdicts["record_id"].to_pylist() == ["0", "1"]
    assert verdicts["judge"].to_pylist() == ["first+second", "first"]
