"""Image tokens to pixels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgvf.janus.model import JanusModel

CHUNK_PIXELS = {"cpu": 2**14, "cuda": 2**20}
"""Number of pixels to decode at once: a few images. More are slower on a CPU, and take memory everywhere."""


def decode_images(model: JanusModel, vq_ids: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """RGB images uint8 [B, H, W, 3] of image tokens int64 [B, T], and whether they are finite, bool [B].

    An image with a pixel that is NaN or infinite means nothing.
    """
    chunk = max(1, CHUNK_PIXELS.get(model.device.type, 2**14) // model.image_size**2)
    chunks = [decode_chunk(model, ids) for ids in vq_ids.split(chunk)]
    images, finite = (torch.cat(parts).cpu().numpy() for parts in zip(*chunks, strict=True))
    return images, finite


@torch.no_grad()
def decode_chunk(model: JanusModel, vq_ids: Tensor) -> tuple[Tensor, Tensor]:
    """``decode_images`` of tokens that are decoded at once; the results are on the model's device."""
    vqmodel = model.model.model.vqmodel
    codes = vqmodel.post_quant_conv(vqmodel.quantize.get_codebook_entry(vq_ids.to(model.device)))
    pixels = model.pixel_decoder(codes)  # [B, 3, H, W] in [-1, 1]
    scaled: Tensor = pixels.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous(), pixels.isfinite().flatten(1).all(dim=1)
