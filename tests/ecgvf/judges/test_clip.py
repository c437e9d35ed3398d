"""The zero-shot judge, compared with transformers on a tiny CLIP with random weights."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

from ecgvf.core import concepts
from ecgvf.core.errors import JudgeError
from ecgvf.judges import JudgeOptions, create_judge
from ecgvf.judges.clip import Encoder
from tests.random_clip import build

NOISE = np.random.default_rng(0).integers(0, 256, (3, 40, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("clip")))


def create(clip: str, **options: Any) -> Any:
    return create_judge(None, None, "clip", JudgeOptions(weights=clip, **options))


def test_the_score_is_the_softmax_share_of_the_concepts_texts(clip: str) -> None:
    from transformers import AutoProcessor, CLIPModel

    texts = ["graffiti on a wall", "a clean wall", "a forest"]
    images = [Image.fromarray(image) for image in NOISE]
    inputs = AutoProcessor.from_pretrained(clip)(text=texts, images=images, return_tensors="pt", padding=True)
    with torch.no_grad():
        expected = CLIPModel.from_pretrained(clip).eval()(**inputs).logits_per_image.softmax(1)[:, 0].numpy()
    predictions = create(clip, text=(texts[0],), contrast=tuple(texts[1:])).predict(NOISE)
    assert [prediction.score for prediction in predictions] == pytest.approx(expected, abs=1e-3)
    assert [prediction.present for prediction in predictions] == [score >= 0.5 for score in expected]
    assert {label for label, _ in predictions[0].top_labels} == set(texts)


def test_a_threshold_is_a_margin_between_cosines(clip: str) -> None:
    encoder = Encoder(clip)
    wall, forest = (encoder.encode_images(NOISE) @ encoder.encode_texts(["a wall", "a forest"]).T).numpy().T
    predictions = create(clip, text=("a wall",), contrast=("a forest",)).predict(NOISE)
    scores = np.array([prediction.score for prediction in predictions])
    assert np.log(scores / (1 - scores)) / encoder.scale == pytest.approx(wall - forest, abs=1e-4)


def test_a_text_that_is_repeated_counts_once(clip: str) -> None:
    once, twice = (create(clip, text=texts).predict(NOISE) for texts in (("a wall",), ("a wall", "a wall")))
    assert once == twice


def test_texts_that_differ_in_case_alone_count_once(clip: str) -> None:
    once, twice = (create(clip, text=texts).predict(NOISE) for texts in (("a wall",), ("a wall", "A Wall")))
    assert once == twice
    with pytest.raises(JudgeError, match="--contrast"):
        create(clip, text=("a wall",), contrast=("A Wall",))


def test_weights_in_half_precision_are_read_in_single(clip: str, tmp_path: Path) -> None:
    from transformers import CLIPModel

    shutil.copytree(clip, tmp_path / "half")
    CLIPModel.from_pretrained(clip).half().save_pretrained(tmp_path / "half")
    single, half = (Encoder(folder).encode_images(NOISE) for folder in (clip, str(tmp_path / "half")))
    torch.testing.assert_close(half, single, rtol=0, atol=0.01)


def test_texts_and_contrast_default_to_the_concepts(clip: str) -> None:
    judge = create_judge(concepts.find("van-gogh"), "janus-pro-1b", "clip", JudgeOptions(weights=clip))
    assert "a picture in the style of Van Gogh" in judge.criterion.accepted
    assert "a picture" in judge.criterion.against and judge.criterion.threshold == 0.5


def test_preprocessing_and_tokenizer_are_part_of_the_hash(clip: str, tmp_path: Path) -> None:
    def changed(name: str, file: str, old: str, new: str) -> str:
        """The hash of a copy of the model in which ``file`` has ``new`` in place of ``old``."""
        path = Path(shutil.copytree(clip, tmp_path / name)) / file
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new))
        return Encoder(str(path.parent)).weights_hash

    encoder = Encoder(clip)
    encoder.encode_texts(["a wall", "a picture of a forest"])
    assert encoder.weights_hash == Encoder(clip).weights_hash  # padding leaves a state in the tokenizer
    version = f'"transformers_version": "{transformers.__version__}"'
    assert changed("copy", "config.json", version, '"transformers_version": "5.0.0"') == encoder.weights_hash
    others = [
        changed("mean", "processor_config.json", "0.48145466", "0.4"),
        changed("activation", "config.json", "quick_gelu", "gelu"),
        changed("length", "tokenizer_config.json", '"model_max_length": 32', '"model_max_length": 8'),
        changed("word", "tokenizer.json", '"church"', '"chapel"'),
    ]
    assert len({encoder.weights_hash, *others}) == 5


def test_missing_texts_and_models_that_cannot_be_loaded_are_refused(clip: str, tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="--text"):
        create(clip)
    with pytest.raises(JudgeError, match="--contrast"):
        create(clip, text=("a wall",), contrast=("a wall",))
    with pytest.raises(JudgeError, match="cannot load the CLIP model"):
        create(str(tmp_path), text=("a wall",))
    save_file({"logit_scale": torch.tensor(1.0)}, Path(shutil.copytree(clip, tmp_path / "cut")) / "model.safetensors")
    with pytest.raises(JudgeError, match=r"cut' lacks weights \(.*\), which would be random: name another"):
        create(str(tmp_path / "cut"), text=("a wall",))
    with pytest.raises(JudgeError, match="for judge clip"):
        create_judge(concepts.find("church"), "janus-pro-1b", "resnet50", JudgeOptions(text=("a wall",)))
