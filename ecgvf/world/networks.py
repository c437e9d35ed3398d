"""The networks of Janus-nano's judges, by the architecture that their folder names."""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from ecgvf.world.convnext import NanoConvNeXt
from ecgvf.world.half_precision import read_config
from ecgvf.world.resnet import NanoResNet

ARCHITECTURES: dict[str, type[NanoResNet] | type[NanoConvNeXt]] = {
    "nano-resnet": NanoResNet,
    "nano-convnext": NanoConvNeXt,
}


def load_network(folder: Path) -> NanoResNet | NanoConvNeXt:
    """Load a judge's network in float32 and evaluation mode.

    Raises ``OSError`` if a file is missing, ``KeyError`` for an unknown architecture.
    """
    return ARCHITECTURES[read_config(folder)["architecture"]].load(folder)


def preprocess(pixels: Tensor) -> Tensor:
    """Images uint8 ``[N, H, W, 3]`` → pixels float32 ``[N, 3, 64, 64]`` in −1…1, resized if necessary (antialiased)."""
    floats = pixels.permute(0, 3, 1, 2).float().div(127.5).sub(1)
    if floats.shape[-2:] != (64, 64):
        floats = F.interpolate(floats, size=(64, 64), mode="bilinear", antialias=True)
    return floats
