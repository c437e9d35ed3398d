"""Zero-shot judging, with a tiny CLIP of random weights against transformers' own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ecgvf.core import concepts
from ecgvf.core.errors import JudgeError
from ecgvf.judges import JudgeOptions, create_judge
from ecgvf.judges.clip import Encoder
from tests.random_clip import build

NOISE = np.random.default_rng(0).integers(0, 256, (3, 40, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("clip")))


def judge(clip: str, **said: Any) -> Any:
    return create_judge(None, None, "clip", JudgeOptions(weights=clip, **said))


def test_the_score_is_the_concepts_share_among_all_texts(clip: str) -> None:
    from transformers import AutoProcessor, CLIPModel

    texts = ["graffiti on a wall", "a clean wall", "a forest"]
    looking = judge(clip, text=(texts[0],), contrast=tuple(texts[1:]))
    pictures = [Image.fromarray(image) for image in NOISE]
    given = AutoProcessor.from_pretrained(clip)(text=texts, images=pictures, return_tensors="pt", padding=True)
    with torch.no_grad():
        own = CLIPModel.from_pretrained(clip).eval()(**given).logits_per_image.softmax(1).numpy()
    readings = looking.predict(NOISE)
    assert [one.score for one in readings] == pytest.approx(own[:, 0], abs=1e-3)
    assert [one.present for one in readings] == [score >= 0.5 for score in own[:, 0]]
    assert {label for label, _ in readings[0].top_labels} == set(texts)


def test_a_threshold_is_a_margin_between_cosines(clip: str) -> None:
    looking = judge(clip, text=("a wall",), contrast=("a forest",))
    encoder = Encoder(clip)
    wall, forest = (encoder.pictures(NOISE) @ encoder.texts(["a wall", "a forest"]).T).numpy().T
    scores = np.array([one.score for one in looking.predict(NOISE)])
    assert np.log(scores / (1 - scores)) / encoder.scale == pytest.approx(wall - forest, abs=1e-4)


def test_a_concept_gives_texts_and_contrast_by_itself(clip: str) -> None:
    looking: Any = create_judge(concepts.find("van-gogh"), "janus-pro-1b", "clip", JudgeOptions(weights=clip))
    assert "a picture in the style of Van Gogh" in looking.criterion.accepted
    assert "a picture" in looking.criterion.against and looking.criterion.threshold == 0.5


def test_bad_input(clip: str, tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="--text"):
        judge(clip)
    with pytest.raises(JudgeError, match="--contrast"):
        judge(clip, text=("a wall",), contrast=("a wall",))
    with pytest.raises(JudgeError, match="cannot load the CLIP model"):
        judge(str(tmp_path), text=("a wall",))
    with pytest.raises(JudgeError, match="for judge clip"):
        create_judge(concepts.find("church"), "janus-pro-1b", "resnet50", JudgeOptions(text=("a wall",)))
