"""The networks of Janus-nano's judges, by the architecture that their folder names."""

from pathlib import Path

from ecgvf.world.classifier import NanoResNet
from ecgvf.world.convnext import NanoConvNeXt
from ecgvf.world.half_precision import read_config

ARCHITECTURES: dict[str, type[NanoResNet] | type[NanoConvNeXt]] = {
    "nano-resnet": NanoResNet,
    "nano-convnext": NanoConvNeXt,
}


def load_network(folder: Path) -> NanoResNet | NanoConvNeXt:
    """Load a judge's network in float32 and evaluation mode.

    Raises ``OSError`` if a file is missing, ``KeyError`` for an unknown architecture.
    """
    return ARCHITECTURES[read_config(folder)["architecture"]].load(folder)
