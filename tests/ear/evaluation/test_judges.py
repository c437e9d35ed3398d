"""What an evaluation sees in an image beside its labels: CLIP's similarity, and the surrogate's label."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ear.commands.options import JudgeOption
from ear.evaluation import judges as evaluation_judges
from ear.evaluation.figures import replacement, scene
from ear.evaluation.judges import open_judges
from ear.evaluation.prompts import EvaluationPrompt
from ear.retained_concepts import retained_concepts
from ecgvf.core import concepts
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import JudgeError
from ecgvf.judges import clip
from ecgvf.judges import retained as retained_judges
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.judge import Criterion
from ecgvf.judges.nano import ATTRIBUTE_JUDGES
from tests import random_clip
from tests.ear.conftest import BrightnessJudge, brightness_judge
from tests.ear.evaluation.small_outcomes import outcome

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
PAIR = EvaluationPrompt(
    id="1",
    prompt="a church by the clean wall",
    seed=0,
    surrogate="hotel",
    surrogate_prompt="a hotel by the clean wall",
    target_prompt="a church by the clean wall",
)
ALONE = replace(PAIR, surrogate=None, surrogate_prompt=None)


@pytest.fixture
def photographs(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """The same dataset, as if a judge of photographs had filtered it."""
    monkeypatch.setattr(evaluation_judges, "create_judge", brightness_judge)
    return replace(dataset, judge="resnet50")


def test_clip_compares_an_image_with_both_prompts(
    photographs: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip, "DEFAULT", str(random_clip.build(tmp_path / "clip")))
    judges = open_judges(photographs)
    with_pair, alone = judges.clip_cosines([PAIR, ALONE], IMAGES)
    assert alone is None and with_pair is not None
    encoder = clip.Encoder()
    expected = encoder.encode_texts([str(PAIR.surrogate_prompt), PAIR.prompt]) @ encoder.encode_images(IMAGES[:1])[0]
    assert list(with_pair) == pytest.approx(expected.tolist(), abs=1e-6)
    other = replace(PAIR, surrogate_prompt="a castle by the clean wall, at dawn")
    both = judges.clip_cosines([PAIR, other], IMAGES)
    expected = encoder.encode_texts([str(other.surrogate_prompt), PAIR.prompt]) @ encoder.encode_images(IMAGES)[1]
    assert both == [pytest.approx(with_pair, abs=1e-6), pytest.approx(tuple(expected.tolist()), abs=1e-6)]
    assert judges.clip_cosines([PAIR], IMAGES[:1]) == judges.clip_cosines([replace(PAIR, prompt="a hotel")], IMAGES[:1])
    assert judges.settings([PAIR])[-1] == {"judge": "clip", "judge_hash": encoder.weights_hash}


def test_all_judges_compute_on_one_device(photographs: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    used: dict[str, set[str]] = {}

    def create_judge(concept: Any, model: str | None, name: str, options: Any, device: str) -> BrightnessJudge:
        used.setdefault(device, set()).add(name)
        return brightness_judge(concept, model, name, options, device)

    monkeypatch.setattr(evaluation_judges, "create_judge", create_judge)
    monkeypatch.setattr(retained_judges, "create_judge", create_judge)
    monkeypatch.setattr(clip, "Encoder", lambda device: used[device].add("clip"))
    for name in ("nano-object-a", "style"):
        dataset = replace(photographs, judge=name)
        retained = replace(PAIR, retained=retained_concepts(dataset)[0])
        open_judges(dataset, device="cuda:1").settings([PAIR, retained])
    of_nano = {"nano-object-b", "nano-object-c", *ATTRIBUTE_JUDGES.values()}
    assert used == {"cuda:1": {*of_nano, "style", "resnet50", "clip"}}


def test_without_clip_nothing_is_measured_and_a_note_says_so(
    photographs: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clip, "DEFAULT", str(tmp_path / "nowhere"))
    assert open_judges(photographs).clip_cosines([PAIR], IMAGES[:1]) == [None]
    assert "no CLIP similarity is measured" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("concept", "of_filter", "measured"),
    [
        ("church", "nano-object-a", "nano-object-b"),
        ("church", "nano-object-b", "nano-object-a"),
        ("van-gogh", "nano-style", "nano-style"),
    ],
)
def test_the_help_names_the_judge_of_things_and_of_styles(
    dataset: Dataset, concept: str, of_filter: str, measured: str
) -> None:
    judges = open_judges(replace(dataset, concept=concepts.find(concept), judge=of_filter))
    assert judges.concept_judge == measured
    assert measured in str(get_args(JudgeOption)[1].show_default)


def test_clip_does_not_know_nanos_world(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "DEFAULT", "nobody/nothing")
    assert open_judges(dataset).clip_cosines([PAIR], IMAGES[:1]) == [None]


def test_the_figures_of_clip() -> None:
    rows = [
        outcome(0, "before", clip_surrogate=0.2, clip_target=0.3),
        outcome(0, "after", clip_surrogate=0.3, clip_target=0.2),
    ]
    found = {row.figure: row for row in scene(rows)}
    assert found["clip_surrogate"].after.value == pytest.approx(0.3)
    assert found["clip_margin"].change.value == pytest.approx(0.2)
    assert "clip_margin" not in {row.figure for row in scene([outcome(0, "before"), outcome(0, "after")])}


@pytest.mark.parametrize(
    ("concept", "named", "label"),
    [
        ("church", "hotel", "hotel"),
        ("church", "tienda de campaña", "tent"),
        ("church", "an inn", "hotel"),
        ("church", "nothing of this world", None),
        ("van-gogh", "in the style of a watercolour", "watercolour"),
        ("van-gogh", None, "plain"),
    ],
)
def test_a_surrogate_is_named_as_its_judges_do(
    dataset: Dataset, concept: str, named: str | None, label: str | None
) -> None:
    judges = open_judges(replace(dataset, concept=concepts.find(concept)))
    assert judges.surrogate(replace(PAIR, surrogate=named)) == label
    assert judges.surrogate_label(replace(PAIR, surrogate=named)) == label
    assert judges.surrogate(ALONE) is None


class Photographs(Classifier):
    """A judge of photographs that has no label for a hotel."""

    def __init__(self) -> None:
        super().__init__("photographs", [["church"], ["barn", "byre"]], Criterion.top1("church"))
        self._network = torch.nn.Identity()

    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        return torch.full((len(images), 2), 0.5)


def test_a_surrogate_that_the_judge_has_no_label_for_is_not_measured_and_a_note_says_so(
    photographs: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    judges = open_judges(photographs, Photographs())
    barn = replace(PAIR, surrogate="byre")
    assert (judges.surrogate(PAIR), judges.surrogate_label(PAIR)) == ("hotel", None)
    assert judges.surrogate_label(barn) == "barn"
    assert judges.surrogate_label(ALONE) is None
    judges.note_unnamed_surrogates([barn, ALONE])
    assert not capsys.readouterr().err
    judges.note_unnamed_surrogates([PAIR, barn])
    assert "judge photographs has no label for hotel" in " ".join(capsys.readouterr().err.split())
    assert "shows_surrogate" not in {row.figure for row in replacement([outcome(surrogate_label=None)])}


class FailsOnBright(BrightnessJudge):
    """A judge whose network returns NaN for an image of 255s."""

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if (images == 255).all(axis=(1, 2, 3)).any():
            raise RuntimeError(f"judge {self.name} returned NaN or infinity")
        return super().probabilities(images)


@pytest.mark.parametrize("retained", [False, True])
def test_an_image_that_a_judge_fails_on_is_named_with_the_judge(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, retained: bool
) -> None:
    monkeypatch.setattr(evaluation_judges, "create_judge", lambda concept, model, name, *_: FailsOnBright(name))
    judges = open_judges(dataset)
    concept = retained_concepts(dataset)[0] if retained else None
    good, bad = (replace(ALONE, prompt=text, retained=concept) for text in ("a good image", "a bad image"))
    images = IMAGES.copy()
    images[1] = 255
    for judge_images in (judges.judge_images, judges.judge_attributes):
        with pytest.raises(JudgeError, match=r"judge nano-.* fails on the image of 'a bad image': .* returned NaN"):
            judge_images([good, bad], images)
    assert judges.judge_images([good], images[:1])[0]


def test_a_clip_that_returns_nan_is_one_line(
    photographs: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip, "DEFAULT", str(random_clip.build(tmp_path / "clip")))
    monkeypatch.setattr(clip.Encoder, "encode_images", lambda _, images: torch.full((len(images), 16), torch.nan))
    monkeypatch.setattr(clip.Encoder, "encode_texts", lambda _, texts: torch.ones(len(texts), 16))
    with pytest.raises(JudgeError, match="CLIP returned NaN or infinity for the image of 'a church by"):
        open_judges(photographs).clip_cosines([PAIR], IMAGES[:1])
