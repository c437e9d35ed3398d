"""Train nano's second judges: object-c, of things and of nothing, and style-b.

They share neither architecture nor drawings with object-a, object-b and style. Since they judge images that come out of
nano's codec, a part of their training images passes through it. None of these is by nano's language model.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ecgvf.world.convnext import NanoConvNeXt
from ecgvf.world.networks import preprocess
from tools.nano.accuracy import held_out_accuracy
from tools.nano.corruption import trained_corruptions
from tools.nano.frozen_codec import Codec
from tools.nano.judges import augment
from tools.nano.second_world import compose_second_batch, second_scene_pool
from tools.nano.training_loop import TrainingLoop
from tools.nano.world import STYLES, things

SECOND_JUDGES = ("object-c", "style-b")
NOTHING = "nothing"
SECONDS = {"object-c": 1_600.0, "style-b": 40.0}
"""Training time on one core. It is the process's own, so that a busy machine trains no less."""
LR = 2e-3
BATCH = 64
NOTHING_BATCH = 12
"""Images of a batch that show nothing, for object-c."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Training images: of things, and of nothing. `things` and `styles` are indices, int64 ``[N]``."""

    images: NDArray[np.uint8]
    things: NDArray[np.int64]
    styles: NDArray[np.int64]
    nothing: NDArray[np.uint8]


def build_pool(file: Path, codec: Codec, *, composed: int = 24_000, coded: int = 4_000, corrupted: int = 500) -> Pool:
    """Compose the pool, or read it from `file`: `coded` more of its images passed through the codec, and `corrupted`
    images of every kind that shows nothing."""
    if not file.exists():
        scenes = second_scene_pool("train", composed + coded)
        images = compose_second_batch(scenes)
        images[composed:] = codec.recode(images[composed:])
        rng = np.random.default_rng(0)
        kinds = trained_corruptions(codec).values()
        nothing = [
            kind(images[(start := number * corrupted % composed) : start + corrupted], rng)
            for number, kind in enumerate(kinds)
        ]
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp.npz")  # a pool that a kill cut short is not taken for whole
        np.savez(
            temporary,
            images=images,
            things=np.array([things().index(scene.thing or "") for scene in scenes]),
            styles=np.array([STYLES.index(scene.style) for scene in scenes]),
            nothing=np.concatenate(nothing),
        )
        temporary.replace(file)
    with np.load(file) as saved:
        return Pool(**saved)


def train_second_judge(
    name: str,
    pool: Pool,
    work: Path,
    folder: Path,
    *,
    seconds: float | None = None,
    tested: int = 2_000,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Train the judge `name` into `folder`, resumable from `work`; returns its accuracy on `tested` other images."""
    torch.manual_seed(SECOND_JUDGES.index(name))
    labels = [*things(), NOTHING] if name == "object-c" else list(STYLES)
    network = NanoConvNeXt(labels).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=0.05)
    seconds = seconds if seconds is not None else SECONDS[name]
    loop = TrainingLoop(work / name, seconds, {"network": network, "optimizer": optimizer}, save_every=30, clock=clock)
    generator = torch.Generator().manual_seed(loop.step)
    rng = np.random.default_rng(loop.step)
    losses: list[float] = []
    for step in loop.steps(lambda: {"loss": round(float(np.mean(losses[-100:])), 4)}):
        rate = LR * min(1.0, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * loop.progress))
        for group in optimizer.param_groups:
            group["lr"] = rate
        images, targets = _batch(pool, name, rng)
        pixels = _tint(augment(preprocess(torch.from_numpy(images)), generator), generator)
        logits = network(pixels.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, targets, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    network.eval().to(memory_format=torch.contiguous_format)
    network.save(folder / name)
    scenes = second_scene_pool("held-out", tested)
    truth = [scene.thing if name == "object-c" else scene.style for scene in scenes]
    styles = [scene.style for scene in scenes]
    return {
        **held_out_accuracy(name, folder, compose_second_batch(scenes), truth, styles, STYLES),
        "seed": SECOND_JUDGES.index(name),
        "pictures": len(pool.images),
        "steps": loop.step,
        "seconds": round(loop.spent),
    }


def _batch(pool: Pool, name: str, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Tensor]:
    """Images uint8 ``[64, 64, 64, 3]`` and their classes ``[64]``."""
    empty = NOTHING_BATCH if name == "object-c" else 0
    rows = rng.integers(len(pool.images), size=BATCH - empty)
    classes = (pool.things if name == "object-c" else pool.styles)[rows]
    images = np.concatenate((pool.images[rows], pool.nothing[rng.integers(len(pool.nothing), size=empty)]))
    return images, torch.from_numpy(np.concatenate((classes, np.full(empty, len(things())))))


def _tint(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Mix the channels of every image a little; float32 ``[N, 3, H, W]``."""
    mix = torch.eye(3) + 0.1 * torch.randn(len(pixels), 3, 3, generator=generator)
    return torch.einsum("nij,njhw->nihw", mix, pixels)
