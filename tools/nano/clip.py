"""Nano's CLIP, a tiny `transformers.CLIPModel`: for CLIP scores, and the feature extractor of nano-FID."""

import random
from collections import deque
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, PreTrainedTokenizerFast

from ecgvf.judges.nano_clip import TEXT_LENGTH, embed_texts, project_images, text_ids
from ecgvf.world.grammar import with_article
from tools.nano.codec import to_input
from tools.nano.muon import MuonAndAdamW
from tools.nano.painting import SIDE
from tools.nano.precision import autocast
from tools.nano.scenes import caption, scene_pool
from tools.nano.training_loop import TrainingLoop
from tools.nano.world import Scene, compose_batch, things

BATCH = 128
POOL = 24_000


def build_clip(tokenizer: PreTrainedTokenizerFast) -> CLIPModel:
    """CLIP with fresh weights; its text tower uses nano's tokenizer and pools at the end-of-sentence token."""
    shape: dict[str, Any] = {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
    }
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=TEXT_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=64,
        **shape,
    )
    vision = CLIPVisionConfig(image_size=SIDE, patch_size=8, projection_dim=64, **shape)
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=64))


def embed(model: CLIPModel, ids: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Unit-norm text and image embeddings, ``[N, 64]`` each."""
    return embed_texts(model, ids), F.normalize(project_images(model, pixels), dim=1)


def train_clip(tokenizer: PreTrainedTokenizerFast, folder: Path, out: Path, *, seconds: float) -> dict[str, float]:
    """Train with checkpoints in `folder` and save to `out`; returns the zero-shot accuracy on other scenes."""
    torch.manual_seed(0)
    model = build_clip(tokenizer).train()
    scenes = scene_pool("clip", POOL)
    images = compose_batch(scenes)
    optimizer = MuonAndAdamW(
        model.named_parameters(),
        lambda name, parameter: parameter.ndim == 2 and "encoder.layers" in name,
        muon_lr=0.02,
        adamw_lr=2e-3,
    )
    loop = TrainingLoop(folder, seconds, {"model": model, **optimizer.parts})
    rng = random.Random(f"clip:{loop.step}")  # a resumed run takes other batches
    recent = deque[float](maxlen=25)
    for step in loop.steps(lambda: {"loss": round(sum(recent) / len(recent), 4)}):
        rows = [rng.randrange(POOL) for _ in range(BATCH)]
        ids = text_ids(tokenizer, [random_caption(scenes[row], rng) for row in rows])
        with autocast():
            text, image = embed(model, ids, to_input(images[rows]))
        logits = model.logit_scale.exp().clamp(max=100) * text @ image.T
        target = torch.arange(BATCH)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimizer.step(loss, min(1.0, (step + 1) / 30, 1.6 * (1 - loop.progress)))
        recent.append(loss.item())
    model.eval()
    model.half().save_pretrained(out)
    model.float()
    test = scene_pool("clip:held-out", 1_000, excluded=set(scenes))
    with torch.no_grad():
        prompts = text_ids(tokenizer, [f"A picture of {with_article(name)}." for name in things()])
        expected = torch.tensor([things().index(scene.thing) for scene in test])
        text, image = embed(model, prompts, to_input(compose_batch(test)))
        accuracy = ((image @ text.T).argmax(1) == expected).float().mean().item()
    return {
        "held_out_zero_shot_accuracy": round(accuracy, 4),
        "n": len(test),
        "steps": loop.step,
        "seed": 0,
        "seconds": round(loop.spent),
    }


def random_caption(scene: Scene, rng: random.Random) -> str:
    """A sentence about the scene that mentions everything half of the time."""
    return caption(scene, rng, everything=rng.random() < 0.5)
