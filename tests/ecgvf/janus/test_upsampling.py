"""Upsampling and a convolution are one transposed convolution, with the weights of the model."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ecgvf.janus import JanusModel
from ecgvf.janus.upsampling import join_upsampling, transposed_convolution


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7), st.booleans())
def test_a_transposed_convolution_is_upsampling_and_convolution(
    inputs: int, outputs: int, height: int, width: int, bias: bool
) -> None:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
    image = torch.randn(2, inputs, height, width)
    expected = convolution(F.interpolate(image, scale_factor=2.0, mode="nearest"))
    torch.testing.assert_close(transposed_convolution(convolution)(image), expected, rtol=1e-4, atol=1e-5)


def test_the_other_weights_are_shared_and_the_model_stays_as_it_is(tiny_janus: JanusModel) -> None:
    decoder = tiny_janus.model.model.vqmodel.decoder
    names, weights = set(decoder.state_dict()), set(map(id, decoder.parameters()))
    joined = join_upsampling(decoder)
    own = [name for name, weight in joined.named_parameters() if id(weight) not in weights]
    assert own
    assert all("upsample.weight" in name for name in own)
    assert set(decoder.state_dict()) == names


@pytest.mark.parametrize(("dtype", "joined"), [(torch.float32, True), (torch.bfloat16, False)])
def test_half_precision_keeps_its_upsampling(tiny_janus: JanusModel, dtype: torch.dtype, joined: bool) -> None:
    decoder = copy.deepcopy(tiny_janus.model.model.vqmodel.decoder).to(dtype)
    transposed = [isinstance(module, nn.ConvTranspose2d) for module in join_upsampling(decoder).modules()]
    assert any(transposed) == joined
