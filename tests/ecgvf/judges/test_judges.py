from pathlib import Path

import numpy as np
import pytest
import torch

from ecgvf.core import concepts
from ecgvf.core.errors import JudgeError
from ecgvf.judges import NanoJudge, create_judge, nano
from ecgvf.judges.classifier import places, readings
from ecgvf.judges.judge import Criterion
from ecgvf.world.classifier import NanoResNet

LABELS = ["castle", "church", "house"]
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with judges of random weights."""
    torch.manual_seed(0)
    for which in ("object-a", "object-b"):
        NanoResNet(LABELS, widths=(4, 8)).save(tmp_path / "nano" / "judges" / which)
    NanoResNet(["plain", "van-gogh"], widths=(4, 8)).save(tmp_path / "nano" / "judges" / "style")
    monkeypatch.setattr(nano, "data_dir", lambda: tmp_path)
    return tmp_path


def criterion(*accepted: str, top_k: int | None = 1, threshold: float | None = None) -> Criterion:
    return Criterion(label_set="test", accepted=accepted, near=("castle",), top_k=top_k, threshold=threshold)


ROWS = np.array([[0.2, 0.5, 0.3], [0.5, 0.3, 0.2]], dtype=np.float32)


def test_top_1_is_present_where_the_best_label_is_an_accepted_one() -> None:
    there, not_there = readings(ROWS, LABELS, [1, 2], criterion("church", "house"))
    assert there.present and not not_there.present
    assert there.score == pytest.approx(0.8) and not_there.score == pytest.approx(0.5)
    assert [label for label, _ in there.top_labels] == ["church", "house", "castle"]


def test_top_k_and_threshold_both_have_to_hold() -> None:
    def present(top_k: int | None, threshold: float | None) -> list[bool]:
        return [
            one.present for one in readings(ROWS, LABELS, [1], criterion("church", top_k=top_k, threshold=threshold))
        ]

    assert present(1, None) == [True, False]
    assert present(2, None) == [True, True]
    assert present(2, 0.4) == [True, False]
    assert present(None, 0.3) == [True, True]
    assert present(1, 0.6) == [False, False]


def test_a_near_miss_is_shown_and_never_accepted() -> None:
    church = criterion("church")
    there, not_there = readings(ROWS, LABELS, [1], church)
    assert church.near_miss(there.top_labels) is None
    assert church.near_miss(not_there.top_labels) == "castle" and not not_there.present


def test_a_judge_that_accepts_nothing_only_tells_what_it_sees() -> None:
    assert not any(one.present for one in readings(ROWS, LABELS, [], criterion(top_k=None)))


def test_a_label_that_the_judge_does_not_know_is_named_with_near_ones(data: Path) -> None:
    with pytest.raises(JudgeError, match=r"no label 'curch'.*church"):
        NanoJudge("object-a", ("curch",))


def test_a_name_of_two_classes_is_refused_unless_it_is_the_first_name_of_one() -> None:
    classes = [("crane bird", "crane"), ("crane machine", "crane"), ("maillot",), ("tank suit", "maillot")]
    with pytest.raises(JudgeError, match=r"2 classes that are called 'crane'.*crane bird"):
        places("judge", classes, ["crane"])
    assert places("judge", classes, ["Crane Bird", "maillot", "tank suit"]) == [0, 2, 3]


def test_a_nano_judge_looks_at_every_picture(data: Path) -> None:
    judge = NanoJudge("object-a", ("church",))
    readings = judge.predict(IMAGES)
    assert len(readings) == 5
    assert judge.predict(IMAGES[:0]) == []
    for reading, row in zip(readings, judge.probabilities(IMAGES), strict=True):
        assert reading.present == (row.argmax() == 1)
        assert sum(score for _, score in reading.top_labels) == pytest.approx(1, abs=1e-5)


def test_the_two_object_judges_have_other_weights(data: Path) -> None:
    one, two = NanoJudge("object-a", ("church",)), NanoJudge("object-b", ("church",))
    assert one.weights_hash != two.weights_hash
    assert one.weights_hash == NanoJudge("object-a", ("church",)).weights_hash


def test_the_default_judge_follows_the_model_and_the_kind(data: Path) -> None:
    assert create_judge(concepts.find("church"), "janus-nano").name == "nano-object-a"
    assert create_judge(concepts.find("van-gogh"), "janus-nano").name == "nano-style"
    assert create_judge(concepts.find("church"), "janus-pro-1b").name == "resnet50"
    assert create_judge(concepts.find("church"), "janus-pro-1b", "nano-object-b").name == "nano-object-b"


def test_bad_input(data: Path) -> None:
    with pytest.raises(JudgeError, match="unknown judge"):
        create_judge(concepts.find("church"), "janus-nano", "resnet51")
    with pytest.raises(JudgeError, match="cannot look for 'nudity'"):
        create_judge(concepts.find("nudity"), "janus-nano", "nano-object-a")
    with pytest.raises(JudgeError, match="--weights"):
        create_judge(concepts.find("van-gogh"), "janus-pro-1b")
    (data / "nano" / "judges" / "object-a" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(JudgeError, match="damaged"):
        create_judge(concepts.find("church"), "janus-nano")
    (data / "nano" / "judges" / "object-a" / "model.safetensors").unlink()
    with pytest.raises(JudgeError, match="missing"):
        create_judge(concepts.find("church"), "janus-nano")


def test_shipped_imagenet_labels_are_imagenets() -> None:
    for name in concepts.names():
        concept = concepts.find(name)
        if concept.labels("imagenet"):
            assert create_judge(concept, "janus-pro-1b").criterion.accepted == concept.labels("imagenet")


def test_shipped_concepts_of_nano_are_known_to_its_shipped_judges() -> None:
    for concept in map(concepts.find, concepts.names()):
        if concept.labels("nano"):
            assert create_judge(concept, "janus-nano").criterion.accepted == concept.labels("nano")
            if concept.kind == "object":
                one, two = (NanoJudge(which, concept.labels("nano")) for which in ("object-a", "object-b"))
                assert one.weights_hash != two.weights_hash and one.labels == two.labels
