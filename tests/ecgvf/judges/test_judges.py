"""The top-k rule, the judges of nano, and which judge a name or a concept creates."""

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ecgvf.core import concepts
from ecgvf.core.errors import JudgeError
from ecgvf.judges import JudgeOptions, Prediction, clip, create_judge, nano
from ecgvf.judges.classifier import class_indices, top_k_prediction
from ecgvf.judges.domain import domain_warning
from ecgvf.judges.ensemble import Ensemble
from ecgvf.judges.factory import options_of
from ecgvf.judges.judge import Criterion
from ecgvf.judges.nano import NanoJudge, measuring_judges, same_labels
from ecgvf.world.convnext import NanoConvNeXt
from ecgvf.world.questions import load_questions
from ecgvf.world.resnet import NanoResNet
from tests.ecgvf.small_run import ScriptedJudge
from tools.nano.attribute_judges import NO_COMPANION

CHURCH = concepts.find("church")
LABELS = ["castle", "church", "house"]
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
PROBABILITIES = np.array([[0.2, 0.5, 0.3], [0.5, 0.3, 0.2]], dtype=np.float32)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with judges of random weights."""
    torch.manual_seed(0)
    for variant in ("object-a", "object-b"):
        NanoResNet(LABELS, widths=(4, 8)).save(tmp_path / "nano" / "judges" / variant)
    NanoResNet(["plain", "van-gogh"], widths=(4, 8)).save(tmp_path / "nano" / "judges" / "style")
    NanoConvNeXt([*LABELS, "nothing"], (4, 8), (1, 1)).save(tmp_path / "nano" / "judges" / "object-c")
    NanoConvNeXt(["plain", "van-gogh"], (4, 8), (1, 1)).save(tmp_path / "nano" / "judges" / "style-b")
    monkeypatch.setattr(nano, "data_dir", lambda: tmp_path)
    return tmp_path


def predictions(
    accepted: list[int], top_k: int | None = 1, threshold: float | None = None
) -> tuple[Prediction, Prediction]:
    criterion = Criterion(label_set="test", accepted=("church",), near=("castle",), top_k=top_k, threshold=threshold)
    first, second = (top_k_prediction(row, LABELS, accepted, criterion) for row in PROBABILITIES)
    return first, second


def test_top_1_is_present_if_the_best_label_is_accepted() -> None:
    first, second = predictions([1, 2])
    assert first.present and not second.present
    assert first.score == pytest.approx(0.8) and second.score == pytest.approx(0.5)
    assert [label for label, _ in first.top_labels] == ["church", "house", "castle"]


@pytest.mark.parametrize(
    ("top_k", "threshold", "present"),
    [
        (1, None, [True, False]),
        (2, None, [True, True]),
        (2, 0.4, [True, False]),
        (None, 0.3, [True, True]),
        (1, 0.6, [False, False]),
    ],
)
def test_top_k_and_threshold_must_both_pass(top_k: int | None, threshold: float | None, present: list[bool]) -> None:
    assert [prediction.present for prediction in predictions([1], top_k, threshold)] == present


def test_a_near_miss_is_reported_and_never_accepted() -> None:
    criterion = Criterion(label_set="test", accepted=("church",), near=("castle",), top_k=1)
    church, castle = predictions([1])
    assert criterion.near_miss(church.top_labels) is None
    assert criterion.near_miss(castle.top_labels) == "castle" and not castle.present


def test_a_judge_that_does_not_rank_reports_any_near_label_that_it_sees() -> None:
    criterion = Criterion(label_set="test", accepted=("church",), near=("castle",), threshold=0.25)
    assert criterion.near_miss((("house", 0.9), ("castle", 0.3))) == "castle"
    assert criterion.near_miss((("house", 0.9),)) is None


def test_a_judge_that_accepts_no_label_sees_nothing_present() -> None:
    assert [prediction.present for prediction in predictions([], top_k=None)] == [False, False]


def test_an_unknown_label_is_refused_with_similar_ones(data: Path) -> None:
    with pytest.raises(JudgeError, match=r"no label 'curch' \(similar: church.*\): .*ecgvf generate --concept FILE"):
        NanoJudge("object-a", Criterion.top1("curch"))


def test_a_name_of_two_classes_is_refused_unless_it_is_the_first_name_of_one() -> None:
    classes = [("crane bird", "crane"), ("crane machine", "crane"), ("maillot",), ("tank suit", "maillot")]
    with pytest.raises(JudgeError, match=r"2 classes named 'crane'.*crane bird"):
        class_indices("judge", classes, ["crane"])
    assert class_indices("judge", classes, ["Crane Bird", "maillot", "tank suit"]) == [0, 2, 3]


def test_a_nano_judge_predicts_every_image(data: Path) -> None:
    judge = NanoJudge("object-a", Criterion.top1("church"))
    found = judge.predict(IMAGES)
    assert len(found) == 5
    assert judge.predict(IMAGES[:0]) == []
    for prediction, row in zip(found, judge.probabilities(IMAGES), strict=True):
        assert prediction.present == (row.argmax() == 1)
        assert sum(score for _, score in prediction.top_labels) == pytest.approx(1, abs=1e-5)


def test_the_two_object_judges_have_different_weights(data: Path) -> None:
    first, second = NanoJudge("object-a", Criterion.top1("church")), NanoJudge("object-b", Criterion.top1("church"))
    assert first.weights_hash != second.weights_hash
    assert first.weights_hash == NanoJudge("object-a", Criterion.top1("church")).weights_hash


def test_the_default_judge_follows_the_model_and_the_kind(data: Path) -> None:
    assert create_judge(CHURCH, "janus-nano").name == "nano-object-a"
    assert create_judge(concepts.find("van-gogh"), "janus-nano").name == "nano-style"
    assert create_judge(CHURCH, "janus-pro-1b").name == "resnet50"
    assert create_judge(CHURCH, "janus-pro-1b", "nano-object-b").name == "nano-object-b"


def test_the_second_judges_are_created_by_name(data: Path) -> None:
    judge = create_judge(CHURCH, "janus-nano", "nano-object-c")
    assert judge.name == "nano-object-c" and judge.criterion.accepted == ("church",)
    assert all(sum(dict(prediction.top_labels).values()) == pytest.approx(1) for prediction in judge.predict(IMAGES))
    assert create_judge(concepts.find("van-gogh"), "janus-nano", "nano-style-b").name == "nano-style-b"
    with pytest.raises(JudgeError, match="no labels for 'nudity'"):
        create_judge(concepts.find("nudity"), "janus-nano", "nano-object-c")


def test_the_judge_that_measures_is_not_the_one_that_filtered() -> None:
    assert measuring_judges("nano-object-a", style=False) == ("nano-object-b", "nano-object-c")
    assert measuring_judges("nano-object-b", style=False) == ("nano-object-a", "nano-object-c")
    assert measuring_judges("nano-style", style=True) == ("nano-style", "nano-style-b")


def test_labels_mean_the_same_to_judges_of_the_same_things() -> None:
    assert same_labels("nano-object-b", "nano-object-c") and same_labels("nano-style-b", "nano-style")
    assert same_labels("resnet50", "resnet50")
    assert not same_labels("nano-object-a", "nano-style") and not same_labels("resnet50", "nano-object-a")


def test_nothing_is_accepted_only_if_the_user_says_so(data: Path) -> None:
    names = [name for name in concepts.names() if concepts.find(name).labels("nano")]
    assert not any("nothing" in concepts.find(name).labels("nano") for name in names)
    options = JudgeOptions(labels=("nothing",))
    assert create_judge(None, None, "nano-object-c", options).criterion.accepted == ("nothing",)
    with pytest.raises(JudgeError, match="no label 'nothing'"):
        create_judge(None, None, "nano-object-b", options)


def test_a_judge_of_an_unknown_architecture_is_damaged(data: Path) -> None:
    config = data / "nano" / "judges" / "object-c" / "config.json"
    config.write_text(config.read_text().replace("nano-convnext", "nano-transformer"))
    with pytest.raises(JudgeError, match="damaged"):
        create_judge(CHURCH, "janus-nano", "nano-object-c")


def test_a_judge_warns_of_images_unlike_its_training_data(data: Path) -> None:
    nano_judge = NanoJudge("object-a", Criterion.top1("church"))
    of_photographs = ScriptedJudge([])
    of_photographs.name = "resnet50"
    assert domain_warning(nano_judge, "janus-nano") is None
    assert domain_warning(of_photographs, "janus-pro-1b") is None
    for judge, model in ((nano_judge, "janus-pro-1b"), (of_photographs, "janus-nano")):
        assert f"judge {judge.name} was trained on" in (domain_warning(judge, model) or "")
        assert domain_warning(Ensemble([nano_judge, of_photographs]), model) == domain_warning(judge, model)


def test_nothing_is_known_of_what_a_judge_from_elsewhere_was_trained_on() -> None:
    assert domain_warning(ScriptedJudge([]), "janus-nano") is None


def test_a_judge_that_cannot_be_created_is_an_error_that_names_why(data: Path) -> None:
    with pytest.raises(
        JudgeError, match=r"unknown judge 'resnet51' \(did you mean resnet50\?\): use one of nano-object-a"
    ):
        create_judge(CHURCH, "janus-nano", "resnet51")
    with pytest.raises(JudgeError, match=r"unknown judge 'b' in 'hf:/data/a\+b', where \+ joins judges: use one of"):
        create_judge(CHURCH, "janus-nano", "hf:/data/a+b")
    with pytest.raises(JudgeError, match="no labels for 'nudity'"):
        create_judge(concepts.find("nudity"), "janus-nano", "nano-object-a")
    with pytest.raises(JudgeError, match="--weights"):
        create_judge(concepts.find("van-gogh"), "janus-pro-1b")
    with pytest.raises(JudgeError, match="judge nano-object-a has built-in weights: leave --weights out"):
        create_judge(CHURCH, "janus-nano", "nano-object-a", JudgeOptions(weights="x"))
    with pytest.raises(JudgeError, match="judge hf:a/b names its weights itself: leave --weights out"):
        create_judge(CHURCH, "janus-nano", "hf:a/b", JudgeOptions(weights="x"))
    (data / "nano" / "judges" / "object-a" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(JudgeError, match="damaged"):
        create_judge(CHURCH, "janus-nano")
    (data / "nano" / "judges" / "object-a" / "model.safetensors").unlink()
    with pytest.raises(JudgeError, match="missing"):
        create_judge(CHURCH, "janus-nano")


def test_recorded_options_come_back_without_weights_and_device() -> None:
    decisive = JudgeOptions(labels=("church", "dome"), top_k=3, combine="any")
    recorded = JudgeOptions(labels=("church", "dome"), top_k=3, combine="any", weights="v1").recorded()
    assert recorded == {"labels": ["church", "dome"], "top_k": 3, "combine": "any"}
    assert JudgeOptions.from_recorded(recorded) == decisive


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nano-object-a", JudgeOptions()),
        ("nano-object-a", JudgeOptions(labels=("church", "castle"), top_k=3, threshold=0.5)),
        ("resnet50", JudgeOptions(label_set="imagenet", top_k=2)),
        ("nano-object-a+nano-object-b", JudgeOptions(labels=("church", "castle"), top_k=3, combine="any")),
        ("clip", JudgeOptions(text=("a church",), contrast=("a hut",), threshold=0.4)),
        ("clip+resnet50", JudgeOptions(labels=("dome",), contrast=("a hut",))),
    ],
)
def test_the_options_of_a_judge_are_found_from_its_criterion(
    name: str, options: JudgeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip, "Encoder", lambda *_: SimpleNamespace(encode_texts=lambda texts: None))

    def criteria(options: JudgeOptions) -> dict[str, Criterion]:
        judge = create_judge(CHURCH, "janus-nano", name, options, "cpu")
        return {each.name: each.criterion for each in (judge.judges if isinstance(judge, Ensemble) else [judge])}

    found = options_of(criteria(options), options.combine)
    assert criteria(found) == criteria(options) and found.combine == options.combine


def test_the_options_of_a_judge_from_elsewhere_are_the_defaults() -> None:
    assert options_of({"mine": Criterion(label_set="custom", accepted=("mine",), threshold=0.9)}) == JudgeOptions()


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
                first, second = (
                    NanoJudge(variant, Criterion.top1(*concept.labels("nano"))) for variant in ("object-a", "object-b")
                )
                assert first.weights_hash != second.weights_hash and first.labels == second.labels


def test_the_shipped_second_judge_sees_nothing_where_nothing_is() -> None:
    judge = NanoJudge("object-c", Criterion.top1("church"))
    assert judge.labels == (*NanoJudge("object-b", Criterion.top1("church")).labels, "nothing")
    grey, noise = np.full_like(IMAGES, 128), IMAGES
    for prediction in judge.predict(np.concatenate((grey, noise))):
        assert prediction.top_labels[0][0] == "nothing" and not prediction.present


@pytest.mark.parametrize("attribute", ["sky", "ground", "companion"])
def test_the_shipped_attribute_judges_see_the_scenes_of_the_shipped_questions(attribute: str) -> None:
    judge = create_judge(None, None, f"nano-{attribute}")
    scenes = list({row.image_id: row for row in load_questions()}.values())
    images = np.stack([np.asarray(Image.open(io.BytesIO(scene.image)).convert("RGB")) for scene in scenes])
    seen = [prediction.top_labels[0][0] for prediction in judge.predict(images)]
    correct = [label == (getattr(scene, attribute) or NO_COMPANION) for label, scene in zip(seen, scenes, strict=True)]
    assert len(scenes) == 256 and np.mean(correct) > 0.97


def test_an_attribute_judge_accepts_only_labels_that_the_user_names() -> None:
    options = JudgeOptions(labels=("night",))
    assert create_judge(None, None, "nano-sky", options).criterion.accepted == ("night",)
    with pytest.raises(JudgeError, match="nano-sky has no label 'church'"):
        create_judge(CHURCH, "janus-nano", "nano-sky")


def test_the_shipped_style_judges_have_the_same_labels() -> None:
    assert (
        NanoJudge("style-b", Criterion.top1("van-gogh")).labels == NanoJudge("style", Criterion.top1("van-gogh")).labels
    )


def test_importing_the_judges_imports_no_library_of_a_judge() -> None:
    heavy = "torch torchvision transformers timm onnxruntime cv2 nudenet sklearn starlette uvicorn"
    code = (
        "import sys, ecgvf.judges, ecgvf.judges.custom, ecgvf.judges.domain, ecgvf.judges.files; "
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[]", done.stderr
