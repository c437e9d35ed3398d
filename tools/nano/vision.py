"""Pretrain the vision tower: classify the attributes of composed images.

Janus starts from a trained SigLIP tower; nano's learns from labels, through linear heads that are thrown away.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.janus.modeling_janus import JanusVisionModel

from tools.nano.codec import to_input
from tools.nano.muon import MuonAndAdamW
from tools.nano.precision import autocast
from tools.nano.scenes import scene_pool
from tools.nano.training_loop import TrainingLoop
from tools.nano.world import COMPANIONS, GROUNDS, SKIES, STYLES, Scene, compose_batch, things

BATCH = 32
POOL = 16_000
CLASSES = {
    "thing": tuple(things()),
    "sky": SKIES,
    "ground": GROUNDS,
    "companion": (None, *COMPANIONS),
    "style": STYLES,
}


def class_indices(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """For each attribute in `CLASSES`, the class index of each scene, int64 ``[N]``."""
    return {
        name: torch.tensor([classes.index(getattr(scene, name)) for scene in scenes])
        for name, classes in CLASSES.items()
    }


def training_pool(seed: int = 0, size: int = POOL, without: Collection[str] = ()) -> list[Scene]:
    """The scenes of nano's own training (`seed` 0), or others, fewer by those of the things in `without`.

    Held-out combinations are among them.
    """
    return [scene for scene in scene_pool(f"vision:{seed}", size) if scene.thing not in without]


def train(
    tower: JanusVisionModel,
    folder: Path,
    scenes: Sequence[Scene],
    *,
    seconds: float,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, float]:
    """Train `tower` in place on `scenes`, checkpoints in `folder`; returns each head's accuracy on other scenes.

    These are 512, fewer by those whose things are not in `scenes`.
    """
    torch.manual_seed(seed)
    tower.train()
    heads = nn.ModuleDict(
        {name: nn.Linear(tower.config.hidden_size, len(classes)) for name, classes in CLASSES.items()}
    )
    optimizer = MuonAndAdamW(
        [*tower.named_parameters(), *heads.named_parameters()],
        lambda name, parameter: parameter.ndim == 2 and "encoder.layers" in name,
        muon_lr=0.02,
        adamw_lr=2e-3,
    )
    images, targets = compose_batch(scenes), class_indices(scenes)
    loop = TrainingLoop(folder, seconds, {"tower": tower, "heads": heads, **optimizer.parts}, clock=clock)
    generator = torch.Generator().manual_seed(seed + loop.step)  # a resumed run takes other batches
    recent = {name: deque[float](maxlen=50) for name in heads}
    for step in loop.steps(lambda: {name: round(sum(values) / len(values), 3) for name, values in recent.items()}):
        rows = torch.randint(len(scenes), (BATCH,), generator=generator)
        with autocast():
            pooled = tower(to_input(images[rows.numpy()])).last_hidden_state.mean(1)
        losses = {name: F.cross_entropy(head(pooled.float()), targets[name][rows]) for name, head in heads.items()}
        loss = torch.stack(list(losses.values())).sum() + losses["thing"]
        optimizer.step(loss, min(1.0, (step + 1) / 50, 2 * (1 - loop.progress)))
        for name, value in losses.items():
            recent[name].append(value.item())
    tower.eval()
    known = {scene.thing for scene in scenes}
    test = [scene for scene in scene_pool("vision:held-out", 512, excluded=set(scenes)) if scene.thing in known]
    with torch.no_grad():
        pooled = torch.cat([tower(part).last_hidden_state.mean(1) for part in to_input(compose_batch(test)).split(64)])
    expected = class_indices(test)
    return {
        name: round((head(pooled).argmax(1) == expected[name]).float().mean().item(), 4) for name, head in heads.items()
    }
