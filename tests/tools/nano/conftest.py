import pytest
import torch
from transformers import PreTrainedTokenizerFast
from transformers.models.janus.modeling_janus import JanusVQVAE

from tools.nano import codec
from tools.nano.frozen_codec import Codec
from tools.nano.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def small_codec() -> Codec:
    """Nano's codec with random weights."""
    torch.manual_seed(0)
    network = JanusVQVAE(codec.codec_config())
    codec.anchor(network)
    return Codec(network)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Nano's tokenizer, trained on few lines."""
    return train_tokenizer(lines=400)
