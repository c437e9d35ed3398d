import pytest
import torch
from transformers.models.janus.modeling_janus import JanusVQVAE

from tools.nano import codec
from tools.nano.frozen_codec import Codec


@pytest.fixture(scope="module")
def small_codec() -> Codec:
    """Nano's codec with random weights."""
    torch.manual_seed(0)
    network = JanusVQVAE(codec.codec_config())
    codec.anchor(network)
    return Codec(network)
