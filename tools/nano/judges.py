"""Nano's judges: two object judges that share nothing but their architecture, and a style judge.

They learn from composed pictures, lightly blurred, noised and shifted in tone, and never see a generated one.
"""

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ecgvf.world.classifier import NanoResNet, probabilities, to_judge
from tools.nano.precision import autocast
from tools.nano.scenes import scene_pool
from tools.nano.world import STYLES, pictures, things

JUDGES = ("object-a", "object-b", "style")
BATCH = 64
PENCIL_SHARE = 0.2  # of an object judge's pictures, beside the usual styles: grey lines are the hardest to tell apart


def soften(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Blur of a random width for half of the pictures, noise, a little brightness and contrast; ``[N, 3, H, W]``."""
    n = len(pixels)
    width = 0.3 + 0.6 * torch.rand(1, generator=generator).item()
    taps = torch.exp(-(torch.arange(-2.0, 3.0) ** 2) / (2 * width**2))
    kernel = torch.outer(taps, taps).div(taps.sum() ** 2).expand(3, 1, 5, 5)
    blurred = F.conv2d(F.pad(pixels, (2, 2, 2, 2), mode="replicate"), kernel, groups=3)
    chosen = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
    pixels = torch.where(chosen, blurred, pixels)
    noise = torch.randn(pixels.shape, generator=generator) * 0.08 * torch.rand(n, 1, 1, 1, generator=generator)
    contrast = 1 + 0.2 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    brightness = 0.2 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    return pixels * contrast + brightness + noise


def train_judge(
    name: str, folder: Path, *, pool: int = 14_000, epochs: int = 2, rate: float = 4e-3, tested: int = 2_000
) -> dict[str, float]:
    """Train the judge `name`, save it under `folder`; returns how, and its accuracy on `tested` held-out pictures."""
    seed = JUDGES.index(name)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    labels = list(STYLES) if name == "style" else things()

    def answers(scenes: list) -> Tensor:  # type: ignore[type-arg]
        return torch.tensor([labels.index(scene.style if name == "style" else scene.thing) for scene in scenes])

    pencil = 0 if name == "style" else round(PENCIL_SHARE * pool)
    scenes = scene_pool(f"judge:{name}", pool - pencil)
    scenes += scene_pool(f"judge:{name}:pencil", pencil, style="pencil-sketch")
    images, wanted = pictures(scenes), answers(scenes)
    network = NanoResNet(labels).train()
    steps = epochs * (pool // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    began = time.monotonic()
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        order = rng.permutation(pool)
        for start in range(0, pool - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            batch = soften(to_judge(torch.from_numpy(images[rows])).contiguous(), generator)
            with autocast():
                logits = network(batch)
            loss = F.cross_entropy(logits.float(), wanted[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if start // BATCH % 50 == 0:
                print(name, epoch, start, round(loss.item(), 3), round(time.monotonic() - began), flush=True)
    network.eval()
    network.save(folder / name)
    held_out = scene_pool(f"judge:{name}:held-out", tested)
    seen = probabilities(NanoResNet.load(folder / name), torch.from_numpy(pictures(held_out)))
    right = (seen.argmax(1) == answers(held_out)).float()
    return {
        "held_out_accuracy": round(right.mean().item(), 4),
        **{style: round(right[[scene.style == style for scene in held_out]].mean().item(), 4) for style in STYLES},
        "n": len(held_out),
        "seed": seed,
        "pictures": pool,
        "epochs": epochs,
        "seconds": round(time.monotonic() - began),
    }
