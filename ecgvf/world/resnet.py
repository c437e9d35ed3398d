"""The network of Janus-nano's first judges: a small residual classifier of 64 px images."""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from ecgvf.world.half_precision import load_half, read_config, save_half


class NanoResNet(nn.Module):
    """A ResNet with one block per width; every block but the first halves the resolution.

    Maps pixels float32 ``[N, 3, 64, 64]`` in −1…1 to logits ``[N, len(labels)]``.
    """

    def __init__(self, labels: list[str], widths: tuple[int, ...] = (24, 48, 96, 192)) -> None:
        super().__init__()
        self.labels = labels
        self.widths = widths
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            Block(in_channels, out_channels, stride=1 if level == 0 else 2)
            for level, (in_channels, out_channels) in enumerate(zip((widths[0], *widths[:-1]), widths, strict=True))
        )
        self.head = nn.Linear(widths[-1], len(labels))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits ``[N, labels]`` for pixels ``[N, 3, 64, 64]`` in −1…1."""
        hidden = F.relu(self.stem(pixels))
        for block in self.blocks:
            hidden = block(hidden)
        logits: Tensor = self.head(hidden.mean((2, 3)))
        return logits

    def save(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` (float16) to ``folder``."""
        config = {"architecture": "nano-resnet", "labels": self.labels, "widths": list(self.widths)}
        save_half(self, config, folder)

    @classmethod
    def load(cls, folder: Path) -> "NanoResNet":
        """Load a saved network in float32 and evaluation mode. Raises ``OSError`` if a file is missing."""
        config = read_config(folder)
        return load_half(cls(config["labels"], tuple(config["widths"])), folder)


class Block(nn.Module):
    """Residual block: two 3 x 3 convolutions with batch normalisation, and a 1 x 1 shortcut.

    ``[N, in_channels, H, W]`` → ``[N, out_channels, H / stride, W / stride]``.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(hidden)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(hidden))
