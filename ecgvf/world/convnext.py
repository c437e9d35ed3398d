"""The network of Janus-nano's second judges: a small ConvNeXt (Liu et al. 2022, arXiv:2201.03545) of 64 px images."""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from ecgvf.world.half_precision import load_half, read_config, save_half

_EXPANSION = 3
"""Width of a block's bottleneck, as a multiple of the block's own."""


class NanoConvNeXt(nn.Module):
    """Three stages at 16 x 16, 8 x 8 and 4 x 4 positions; no batch normalisation.

    Maps pixels float32 ``[N, 3, 64, 64]`` in −1…1 to logits ``[N, len(labels)]``.
    """

    def __init__(
        self, labels: list[str], widths: tuple[int, ...] = (48, 96, 176), depths: tuple[int, ...] = (2, 3, 2)
    ) -> None:
        super().__init__()
        self.labels, self.widths, self.depths = labels, widths, depths
        # Two overlapping strides of 2 in place of ConvNeXt's patches of 4 px: they are the codec's, whose borders
        # would fall together with those of shuffled patches.
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0] // 2, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(widths[0] // 2, widths[0], 3, stride=2, padding=1),
        )
        layers: list[nn.Module] = []
        for level, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            if level:
                layers += [ChannelNorm(widths[level - 1]), nn.Conv2d(widths[level - 1], width, 2, stride=2)]
            layers += [ConvNeXtBlock(width) for _ in range(depth)]
        self.stages = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(widths[-1])
        self.head = nn.Linear(widths[-1], len(labels))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits ``[N, labels]`` for pixels ``[N, 3, 64, 64]`` in −1…1."""
        hidden = self.stages(self.stem(pixels))
        logits: Tensor = self.head(self.norm(hidden.mean((2, 3))))
        return logits

    def save(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` (float16) to ``folder``."""
        sizes = {"widths": list(self.widths), "depths": list(self.depths)}
        save_half(self, {"architecture": "nano-convnext", "labels": self.labels, **sizes}, folder)

    @classmethod
    def load(cls, folder: Path) -> "NanoConvNeXt":
        """Load a saved network in float32 and evaluation mode. Raises ``OSError`` if a file is missing."""
        config = read_config(folder)
        return load_half(cls(config["labels"], tuple(config["widths"]), tuple(config["depths"])), folder)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of ``[N, C, H, W]``."""

    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(hidden.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """A 5 x 5 convolution of each channel, then an inverted bottleneck of each position, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, _EXPANSION * width)
        self.project = nn.Linear(_EXPANSION * width, width)
        nn.init.zeros_(self.project.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.norm(self.depthwise(hidden).permute(0, 2, 3, 1))
        outer: Tensor = self.project(F.gelu(self.expand(inner))).permute(0, 3, 1, 2)
        return hidden + outer
