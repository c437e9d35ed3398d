"""The vision tower's own lesson before it meets the language model: name what a picture shows.

Janus's tower comes from SigLIP, already trained; nano's learns from labels, through heads that are thrown away.
"""

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.janus.modeling_janus import JanusVisionModel

from tools.nano.codec import to_input
from tools.nano.lesson import Lesson
from tools.nano.muon import MuonAndAdam
from tools.nano.precision import autocast
from tools.nano.scenes import scene_pool
from tools.nano.world import COMPANIONS, GROUNDS, SKIES, STYLES, Scene, pictures, things

BATCH = 32
ANSWERS = {
    "thing": tuple(things()),
    "sky": SKIES,
    "ground": GROUNDS,
    "companion": (None, *COMPANIONS),
    "style": STYLES,
}


def wanted(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """The number of the right answer to each of `ANSWERS` about each scene, ``[N]``."""
    return {
        name: torch.tensor([answers.index(getattr(scene, name)) for scene in scenes])
        for name, answers in ANSWERS.items()
    }


def teach(
    tower: JanusVisionModel, folder: Path, *, seconds: float, seed: int = 0, pool: int = 16_000
) -> dict[str, float]:
    """Train `tower` in place, checkpoints in `folder`; returns the heads' accuracies on 512 held-out pictures."""
    torch.manual_seed(seed)
    tower.train()
    heads = nn.ModuleDict(
        {name: nn.Linear(tower.config.hidden_size, len(answers)) for name, answers in ANSWERS.items()}
    )
    optimizer = MuonAndAdam(
        [*tower.named_parameters(), *heads.named_parameters()],
        lambda name, parameter: parameter.ndim == 2 and "encoder.layers" in name,
        muon_rate=0.02,
        adam_rate=2e-3,
    )
    scenes = scene_pool(f"vision:{seed}", pool)
    images = pictures(scenes)
    labels = wanted(scenes)
    generator = torch.Generator().manual_seed(seed)
    lesson = Lesson(folder, seconds, {"tower": tower, "heads": heads, **optimizer.parts})
    recent = {name: deque[float](maxlen=50) for name in heads}
    for step in lesson.steps(lambda: {name: round(sum(seen) / len(seen), 3) for name, seen in recent.items()}):
        rows = torch.randint(pool, (BATCH,), generator=generator)
        with autocast():
            pooled = tower(to_input(images[rows.numpy()])).last_hidden_state.mean(1)
        losses = {name: F.cross_entropy(head(pooled.float()), labels[name][rows]) for name, head in heads.items()}
        loss = torch.stack(list(losses.values())).sum() + losses["thing"]
        optimizer.step(loss, min(1.0, (step + 1) / 50, 2 * (1 - lesson.progress)))
        for name, value in losses.items():
            recent[name].append(value.item())
    tower.eval()
    held_out = scene_pool("vision:held-out", 512)
    with torch.no_grad():
        pooled = torch.cat([tower(part).last_hidden_state.mean(1) for part in to_input(pictures(held_out)).split(64)])
    truth = wanted(held_out)
    return {
        name: round((head(pooled).argmax(1) == truth[name]).float().mean().item(), 4) for name, head in heads.items()
    }
