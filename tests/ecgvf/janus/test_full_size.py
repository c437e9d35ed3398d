"""Janus-Pro at full size on the meta device: the same code path without weights."""

from pathlib import Path

import pytest
import torch
from transformers import JanusForConditionalGeneration

from ecgvf.janus import JanusModel, hidden_states, layers, logits
from tools.janus_pro import SHAPES, config


@pytest.mark.parametrize("size", SHAPES)
def test_teacher_forcing_at_full_size(tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    width, _, depth, _ = SHAPES[size]
    with torch.device("meta"):
        model = JanusForConditionalGeneration(config(size))
    full = JanusModel(name="full", path=Path(), model=model, processor=tiny_janus.processor)
    assert (full.image_tokens, full.depth) == (576, depth)
    names = set(dict(model.named_modules()))
    for layer in range(depth):
        for projection in "qkvo":
            assert f"model.language_model.layers.{layer}.self_attn.{projection}_proj" in names
    # The meta device has no values to find padding in; a single prompt has none.
    monkeypatch.setattr(layers, "padding_mask", lambda *_: None)
    states = hidden_states(full, ["a church"], torch.zeros(1, 576, dtype=torch.int64))
    assert states.shape == (1, 576, width)
    assert logits(full, states).shape == (1, 576, 16384)
