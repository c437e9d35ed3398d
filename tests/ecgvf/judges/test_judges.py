from pathlib import Path

import numpy as np
import pytest
import torch

from ecgvf import concepts
from ecgvf.errors import JudgeError
from ecgvf.judges import NanoJudge, choose, nano
from ecgvf.judges.judge import check_labels, top_1
from ecgvf.judges.nano_resnet import NanoResNet
from ecgvf.paths import data_dir

LABELS = ["castle", "church", "house"]
PICTURES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with judges of random weights."""
    torch.manual_seed(0)
    for which in ("object-a", "object-b"):
        NanoResNet(LABELS, widths=(4, 8)).save(tmp_path / "nano" / "judges" / which)
    NanoResNet(["plain", "van-gogh"], widths=(4, 8)).save(tmp_path / "nano" / "judges" / "style")
    monkeypatch.setattr(nano, "data_dir", lambda: tmp_path)
    return tmp_path


def test_top_1_is_present_where_the_best_label_is_an_accepted_one() -> None:
    rows = np.array([[0.2, 0.5, 0.3], [0.5, 0.3, 0.2]], dtype=np.float32)
    there, not_there = top_1(rows, LABELS, ["church", "house"])
    assert there.present and not not_there.present
    assert there.score == pytest.approx(0.8) and not_there.score == pytest.approx(0.5)
    assert [label for label, _ in there.top_labels] == ["church", "house", "castle"]


def test_a_label_that_the_judge_does_not_know_is_named_with_near_ones() -> None:
    with pytest.raises(JudgeError, match=r"no label 'curch'.*church"):
        check_labels("judge", LABELS, ["curch"])
    with pytest.raises(JudgeError, match="judge_labels"):
        check_labels("judge", LABELS, [])


def test_a_nano_judge_looks_at_every_picture(data: Path) -> None:
    judge = NanoJudge("object-a", ("church",))
    readings = judge.look(PICTURES)
    assert len(readings) == 5
    assert judge.look(PICTURES[:0]) == []
    for reading, row in zip(readings, judge.probabilities(PICTURES), strict=True):
        assert reading.present == (row.argmax() == 1)
        assert sum(score for _, score in reading.top_labels) == pytest.approx(1, abs=1e-5)


def test_the_two_object_judges_have_other_weights(data: Path) -> None:
    one, two = NanoJudge("object-a", ("church",)), NanoJudge("object-b", ("church",))
    assert one.weights_hash != two.weights_hash
    assert one.weights_hash == NanoJudge("object-a", ("church",)).weights_hash


def test_the_default_judge_follows_the_model_and_the_kind(data: Path) -> None:
    assert choose(concepts.find("church"), "janus-nano").name == "nano-object-a"
    assert choose(concepts.find("van-gogh"), "janus-nano").name == "nano-style"
    assert choose(concepts.find("church"), "janus-pro-1b").name == "resnet50"
    assert choose(concepts.find("church"), "janus-pro-1b", "nano-object-b").name == "nano-object-b"


def test_bad_input(data: Path) -> None:
    with pytest.raises(JudgeError, match="unknown judge"):
        choose(concepts.find("church"), "janus-nano", "resnet51")
    with pytest.raises(JudgeError, match="cannot look for 'nudity'"):
        choose(concepts.find("nudity"), "janus-nano", "nano-object-a")
    with pytest.raises(JudgeError, match="no judge yet"):
        choose(concepts.find("van-gogh"), "janus-pro-1b")
    (data / "nano" / "judges" / "object-a" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(JudgeError, match="damaged"):
        choose(concepts.find("church"), "janus-nano")
    (data / "nano" / "judges" / "object-a" / "model.safetensors").unlink()
    with pytest.raises(JudgeError, match="missing"):
        choose(concepts.find("church"), "janus-nano")


def test_shipped_imagenet_labels_are_imagenets() -> None:
    for name in concepts.names():
        concept = concepts.find(name)
        if concept.labels("imagenet"):
            assert choose(concept, "janus-pro-1b").accepted == concept.labels("imagenet")


def test_resnet50_reads_top_1_of_imagenet(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import resnet50 as network

    from ecgvf.judges import resnet50

    torch.manual_seed(0)
    random = network(weights=None).state_dict()
    monkeypatch.setattr(type(resnet50.WEIGHTS), "get_state_dict", lambda self, **_: random)
    judge = resnet50.ResNet50(("church",))
    readings = judge.look(PICTURES[:2])
    assert len(readings) == 2 and all(len(reading.top_labels) == 5 for reading in readings)
    assert judge.look(PICTURES[:0]) == []
    assert judge.weights_hash == "11ad3fa6"


def test_weights_that_cannot_be_fetched_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    from ecgvf.judges import resnet50

    def offline(self: object, **_: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(type(resnet50.WEIGHTS), "get_state_dict", offline)
    with pytest.raises(JudgeError, match="cannot fetch"):
        resnet50.ResNet50(("church",)).look(PICTURES[:1])


@pytest.mark.skipif(
    not (data_dir() / "nano" / "judges" / "style" / "model.safetensors").is_file(),
    reason="this checkout has no weights of nano's judges",
)
def test_shipped_concepts_of_nano_are_known_to_its_shipped_judges() -> None:
    for concept in map(concepts.find, concepts.names()):
        if concept.labels("nano"):
            assert choose(concept, "janus-nano").accepted == concept.labels("nano")
            if concept.kind == "object":
                one, two = (NanoJudge(which, concept.labels("nano")) for which in ("object-a", "object-b"))
                assert one.weights_hash != two.weights_hash and one.labels == two.labels
