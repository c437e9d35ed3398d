"""Fused layers compute what `transformers`' own do, with its weights."""

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from ecgvf.janus import JanusModel
from ecgvf.janus.fused import FusedLayer, rms_norm, rotate_, signed_sine


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_norm_is_that_of_transformers(dtype: torch.dtype, tolerance: float, scale: float) -> None:
    norm = LlamaRMSNorm(64).to(dtype)
    norm.weight.data = torch.randn(64, dtype=dtype)
    states = (torch.randn(5, 64) * scale).to(dtype)
    normed = rms_norm(norm, states)
    assert normed.dtype == dtype
    torch.testing.assert_close(normed, norm(states), rtol=tolerance, atol=tolerance)


def test_heads_are_rotated_as_by_transformers() -> None:
    heads, cosine, sine = torch.randn(5, 6, 8), torch.randn(5, 1, 8), torch.randn(5, 1, 8)
    expected, _ = apply_rotary_pos_emb(heads, heads, cosine[:, 0], sine[:, 0])
    rotate_(heads, (cosine, signed_sine(sine)))
    torch.testing.assert_close(heads, expected)


def test_the_joined_weights_take_no_memory(tiny_janus: JanusModel) -> None:
    for layer in tiny_janus.language_model.layers:
        fused = FusedLayer(layer, torch.float32)
        assert fused._qkv[0].data_ptr() == layer.self_attn.q_proj.weight.data_ptr()
        assert torch.equal(fused._qkv[0][-8:], layer.self_attn.v_proj.weight[-8:])
        assert fused._gate_up[0].data_ptr() == layer.mlp.gate_proj.weight.data_ptr()
