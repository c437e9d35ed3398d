"""The vision tower's own lesson before it meets the language model: name what a picture shows.

Janus's tower comes from SigLIP, already trained; nano's learns from labels, through heads that are thrown away.
"""

import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.janus.modeling_janus import JanusVisionModel

from ecgvf.nano.codec import to_input
from ecgvf.nano.muon import Muon
from ecgvf.nano.precision import autocast
from ecgvf.nano.scenes import scene_pool
from ecgvf.nano.world import COMPANIONS, GROUNDS, SKIES, STYLES, Scene, pictures, things

BATCH = 32
_ANSWERS = {
    "thing": tuple(things()),
    "sky": SKIES,
    "ground": GROUNDS,
    "companion": (None, *COMPANIONS),
    "style": STYLES,
}


def _wanted(scenes: list[Scene]) -> dict[str, Tensor]:
    return {
        name: torch.tensor([answers.index(getattr(scene, name)) for scene in scenes])
        for name, answers in _ANSWERS.items()
    }


def teach(tower: JanusVisionModel, *, seconds: float, seed: int = 0, pool: int = 16_000) -> dict[str, float]:
    """Train `tower` in place; returns the heads' accuracies on 512 held-out pictures."""
    torch.manual_seed(seed)
    tower.train()
    heads = nn.ModuleDict(
        {name: nn.Linear(tower.config.hidden_size, len(answers)) for name, answers in _ANSWERS.items()}
    )
    matrices = [p for n, p in tower.named_parameters() if p.ndim == 2 and "encoder.layers" in n]
    chosen = {id(p) for p in matrices}
    muon = Muon(matrices, lr=0.02)
    adam = torch.optim.AdamW(
        [p for p in (*tower.parameters(), *heads.parameters()) if id(p) not in chosen], lr=2e-3, weight_decay=0.0
    )
    scenes = scene_pool(f"vision:{seed}", pool)
    images = pictures(scenes)
    wanted = _wanted(scenes)
    generator = torch.Generator().manual_seed(seed)
    spent, step = 0.0, 0
    while spent < seconds:
        began = time.monotonic()
        rate = min(1.0, (step + 1) / 50, 2 * (1 - spent / seconds))
        muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = 0.02 * rate, 2e-3 * rate
        rows = torch.randint(pool, (BATCH,), generator=generator)
        with autocast():
            pooled = tower(to_input(images[rows.numpy()])).last_hidden_state.mean(1)
        losses = {name: F.cross_entropy(head(pooled.float()), wanted[name][rows]) for name, head in heads.items()}
        loss = torch.stack(list(losses.values())).sum() + losses["thing"]
        tower.zero_grad()
        heads.zero_grad()
        loss.backward()
        adam.step()
        muon.step()
        step += 1
        spent += time.monotonic() - began
        if step % 50 == 0:
            print(step, round(spent), {name: round(value.item(), 3) for name, value in losses.items()}, flush=True)
    tower.eval()
    held_out = scene_pool("vision:held-out", 512)
    with torch.no_grad():
        pooled = torch.cat([tower(part).last_hidden_state.mean(1) for part in to_input(pictures(held_out)).split(64)])
    truth = _wanted(held_out)
    return {
        name: round((head(pooled).argmax(1) == truth[name]).float().mean().item(), 4) for name, head in heads.items()
    }
