"""Image tokens to pixels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgvf.janus.model import JanusModel


@torch.no_grad()
def decode_images(model: JanusModel, vq_ids: Tensor) -> NDArray[np.uint8]:
    """RGB images uint8 [B, H, W, 3] of image tokens int64 [B, T]."""
    pixels = model.model.model.vqmodel.decode(vq_ids.to(model.device))  # [B, 3, H, W] in [-1, 1]
    scaled = pixels.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    images: NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return images
