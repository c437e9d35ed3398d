"""Nano's CLIP knows which sentence describes which image."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ecgvf.core.errors import JudgeError
from ecgvf.core.png import decode
from ecgvf.judges.nano_clip import NanoEncoder
from ecgvf.world.grammar import with_article
from ecgvf.world.questions import load_questions


def test_a_drawing_is_nearer_to_its_own_thing_than_to_others() -> None:
    drawn = list({each.image_id: each for each in load_questions()}.values())
    things = sorted({each.thing for each in drawn})
    encoder = NanoEncoder()
    texts = encoder.encode_texts([f"A picture of {with_article(thing)}." for thing in things])
    images = encoder.encode_images(np.stack([decode(each.image) for each in drawn]))
    assert torch.allclose(images.norm(dim=1), torch.ones(len(drawn)))
    assert torch.allclose(texts.norm(dim=1), torch.ones(len(things)))
    seen = [things[index] for index in (images @ texts.T).argmax(dim=1).tolist()]
    assert np.mean([each.thing == thing for each, thing in zip(drawn, seen, strict=True)]) > 0.7  # chance: 1 of 32


def test_images_of_another_size_are_resized_and_read_only_ones_are_copied() -> None:
    pixels = np.full((2, 128, 128, 3), 200, dtype=np.uint8)
    pixels.flags.writeable = False
    assert NanoEncoder().encode_images(pixels).shape == (2, 64)


def test_a_missing_clip_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match=r"nano's CLIP is missing from .*: install ecgvf again"):
        NanoEncoder(tmp_path / "nowhere")
