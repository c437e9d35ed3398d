"""Janus-Pro at full size on the meta device: the same code path without weights."""

from pathlib import Path

import pytest
import torch
from transformers import JanusConfig, JanusForConditionalGeneration, JanusVisionConfig, JanusVQVAEConfig, LlamaConfig

from ecgvf.janus import JanusModel, hidden_states, layers, logits


def config(width: int, inner: int, depth: int, heads: int) -> JanusConfig:
    return JanusConfig(
        text_config=LlamaConfig(
            vocab_size=102400,
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=16384,
        ),
        vision_config=JanusVisionConfig(projection_dim=width),
        vq_config=JanusVQVAEConfig(projection_dim=width, image_token_embed_dim=width),
    )


@pytest.mark.parametrize(
    ("width", "inner", "depth", "heads"), [(2048, 5632, 24, 16), (4096, 11008, 30, 32)], ids=["1b", "7b"]
)
def test_teacher_forcing_at_full_size(
    tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch, width: int, inner: int, depth: int, heads: int
) -> None:
    with torch.device("meta"):
        model = JanusForConditionalGeneration(config(width, inner, depth, heads))
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
