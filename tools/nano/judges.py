"""Train nano's first judges: two object judges that share only their architecture, and a style judge.

They are trained on composed images, augmented by blur, noise and changes of tone, never on a generated one.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ecgvf.world.networks import preprocess
from ecgvf.world.resnet import NanoResNet
from tools.nano.accuracy import held_out_accuracy
from tools.nano.scenes import scene_pool
from tools.nano.world import STYLES, Scene, compose_batch, things

JUDGES: Mapping[str, int] = {"object-a": 14_000, "object-b": 14_000, "style": 5_000}
"""Judge → training images. Styles are easier to classify than things."""
LR = 4e-3
PENCIL_SHARE = 0.2
"""Share of pencil sketches, the hardest style, that an object judge trains on in addition to the usual ones."""


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Blur half of the images, and change noise, brightness and contrast a little; float32 ``[N, 3, H, W]``."""
    n = len(pixels)
    width = 0.3 + 0.6 * torch.rand(1, generator=generator).item()
    taps = torch.exp(-(torch.arange(-2.0, 3.0) ** 2) / (2 * width**2))
    kernel = torch.outer(taps, taps).div(taps.sum() ** 2).expand(3, 1, 5, 5)
    blurred = F.conv2d(F.pad(pixels, (2, 2, 2, 2), mode="replicate"), kernel, groups=3)
    selected = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
    pixels = torch.where(selected, blurred, pixels)
    noise = torch.randn(pixels.shape, generator=generator) * 0.08 * torch.rand(n, 1, 1, 1, generator=generator)
    contrast = 1 + 0.2 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    brightness = 0.2 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    return pixels * contrast + brightness + noise


def training_pool(name: str, size: int | None = None) -> list[Scene]:
    """The scenes that the judge `name` trains on; `size` None: as many as in `JUDGES`."""
    size = JUDGES[name] if size is None else size
    pencil = 0 if name == "style" else round(PENCIL_SHARE * size)
    scenes = scene_pool(f"judge:{name}", size - pencil)
    return scenes + scene_pool(f"judge:{name}:pencil", pencil, style="pencil-sketch")


def train_judge(
    name: str, folder: Path, *, pool: int | None = None, epochs: int = 2, batch_size: int = 64, tested: int = 2_000
) -> dict[str, float]:
    """Train the judge `name` into `folder`; returns its accuracy on `tested` other scenes, and its settings."""
    seed = list(JUDGES).index(name)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    labels = list(STYLES) if name == "style" else things()

    def truth(scenes: list[Scene]) -> list[str]:
        return [scene.style if name == "style" else scene.thing for scene in scenes]

    scenes = training_pool(name, pool)
    images, targets = compose_batch(scenes), torch.tensor([labels.index(label) for label in truth(scenes)])
    started = time.monotonic()
    network = NanoResNet(labels)
    fit(network, images, targets, generator, epochs=epochs, batch_size=batch_size, seed=seed, name=name)
    network.save(folder / name)
    test = scene_pool(f"judge:{name}:held-out", tested, excluded=set(scenes))
    styles = [scene.style for scene in test]
    return {
        **held_out_accuracy(name, folder, compose_batch(test), truth(test), styles, STYLES),
        "seed": seed,
        "pictures": len(scenes),
        "epochs": epochs,
        "seconds": round(time.monotonic() - started),
    }


def fit(
    network: NanoResNet,
    images: NDArray[np.uint8],
    targets: Tensor,
    generator: torch.Generator,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    name: str,
) -> None:
    """Train the network on images uint8 ``[N, 64, 64, 3]`` of classes ``[N]``, and leave it in evaluation mode."""
    network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    steps = epochs * (len(images) // batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    started = time.monotonic()
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        order = rng.permutation(len(images))
        for start in range(0, len(images) - batch_size + 1, batch_size):
            rows = order[start : start + batch_size]
            batch = augment(preprocess(torch.from_numpy(images[rows])), generator)
            batch = batch.contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(network(batch), targets[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if start // batch_size % 50 == 0:
                print(name, epoch, start, round(loss.item(), 3), round(time.monotonic() - started), flush=True)
    network.eval()
