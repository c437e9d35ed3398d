"""The language model's lesson in reading before it draws: say what a sentence speaks of.

Janus's language model could read long before it drew. Nano's learns from labels what a sentence shows, through heads
that are thrown away. They read half of its layers at begin-of-image: what every image token looks back at knows by then
what to draw, and the other half of the layers can use it.
"""

import random
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from ecgvf.nano.lesson import Lesson
from ecgvf.nano.muon import MuonAndAdam
from ecgvf.nano.precision import autocast
from ecgvf.nano.scenes import scene_pool
from ecgvf.nano.tokenizer import drawing_prompt
from ecgvf.nano.vision import ANSWERS, wanted
from ecgvf.nano.world import Scene
from ecgvf.pairs.grammar import describe, sentence

BATCH = 64


def teach(
    model: JanusForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    seconds: float,
    seed: int = 0,
    pool: int = 20_000,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, float]:
    """Train `model`'s lower layers in place, checkpoints in `folder`; returns accuracies on 512 held-out sentences.

    A sentence seldom says everything: what it leaves out can only be guessed, and lowers the accuracy.
    """
    torch.manual_seed(seed)
    reader = model.model.language_model.train()
    depth = len(reader.layers) // 2
    width = reader.config.hidden_size
    heads = nn.ModuleDict({name: nn.Linear(width, len(options)) for name, options in ANSWERS.items()})

    def answers(scenes: list[Scene], rng: random.Random) -> dict[str, Tensor]:
        ids, last = sentences(tokenizer, scenes, rng)
        states = reader(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states[depth]
        read = F.rms_norm(states[torch.arange(len(ids)), last].float(), (width,))
        return {name: head(read) for name, head in heads.items()}

    optimizer = MuonAndAdam(
        [*reader.embed_tokens.named_parameters(), *reader.layers[:depth].named_parameters(), *heads.named_parameters()],
        lambda name, parameter: parameter.ndim == 2 and name.endswith("proj.weight"),
        muon_rate=0.02,
        adam_rate=3e-3,
    )
    lesson = Lesson(folder, seconds, {"reader": reader, "heads": heads, **optimizer.parts}, clock=clock)
    scenes = scene_pool(f"reading:{seed}", pool)
    rng = random.Random(f"reading:{seed}:{lesson.step}")
    recent = {name: deque[float](maxlen=50) for name in heads}
    for step in lesson.steps(lambda: {name: round(sum(seen) / len(seen), 3) for name, seen in recent.items()}):
        read = rng.sample(scenes, BATCH)
        truth = wanted(read)
        with autocast():
            said = answers(read, rng)
        losses = {name: F.cross_entropy(logits, truth[name]) for name, logits in said.items()}
        optimizer.step(torch.stack(list(losses.values())).sum(), min(1.0, (step + 1) / 50, 2 * (1 - lesson.progress)))
        for name, value in losses.items():
            recent[name].append(value.item())
    reader.eval()
    held_out = scene_pool("reading:held-out", 512)
    truth = wanted(held_out)
    with torch.no_grad():
        said = answers(held_out, random.Random("reading:held-out"))
    return {name: round((said[name].argmax(1) == truth[name]).float().mean().item(), 4) for name in heads}


def sentences(tokenizer: PreTrainedTokenizerFast, scenes: list[Scene], rng: random.Random) -> tuple[Tensor, Tensor]:
    """Ids ``[B, S]`` of a sentence about each scene, padded on the right, and where each ends ``[B]``."""
    texts = [
        drawing_prompt(sentence(describe(s.thing, s.sky, s.ground, s.companion, s.style, rng), rng).text)
        for s in scenes
    ]
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    return batch["input_ids"], batch["attention_mask"].sum(1) - 1
