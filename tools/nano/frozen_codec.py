"""Images to tokens and back, by a codec whose training is over."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.models.janus.modeling_janus import JanusVQVAE

from tools.nano.codec import latents, to_images, to_input
from tools.nano.painting import SIDE

Images = NDArray[np.uint8]
"""RGB ``[N, 64, 64, 3]``."""
Tokens = NDArray[np.int64]
"""``[N, 256]``, in raster order."""


class Codec:
    """Encodes images to tokens and decodes tokens to images; the weights of ``network`` stay as they are."""

    def __init__(self, network: JanusVQVAE) -> None:
        self.network = network.eval()

    @torch.no_grad()
    def encode(self, images: Images, batch: int = 32) -> Tokens:
        """Tokens int64 ``[N, 256]`` of images uint8 ``[N, 64, 64, 3]``."""
        codes = self.network.quantize.embedding.weight
        tokens = []
        for start in range(0, len(images), batch):
            encoded = latents(self.network, to_input(images[start : start + batch]))
            tokens.append((encoded.flatten(2).transpose(1, 2) @ codes.T).argmax(-1).numpy())
        return np.concatenate(tokens)

    @torch.no_grad()
    def decode(self, tokens: Tokens, batch: int = 32) -> Images:
        """Images uint8 ``[N, 64, 64, 3]`` of tokens int64 ``[N, 256]``."""
        images = np.empty((len(tokens), SIDE, SIDE, 3), np.uint8)
        for start in range(0, len(tokens), batch):
            images[start : start + batch] = to_images(self.decode_batch(tokens[start : start + batch]))
        return images

    @torch.no_grad()
    def decode_batch(self, tokens: Tokens) -> Tensor:
        """Pixels float32 ``[N, 3, 64, 64]`` in −1…1, before they are rounded to images."""
        pixels: Tensor = self.network.decode(torch.from_numpy(tokens)).clamp(-1, 1)
        return pixels

    def recode(self, images: Images) -> Images:
        """The images as the codec reconstructs them."""
        return self.decode(self.encode(images))
