"""The language model of nano: it learns to draw from sentences, and to answer about pictures.

Four steps in five draw: a sentence in the chat template, then the codec's 256 tokens of its picture. One row in ten has
every id but BOS and begin-of-image replaced by the pad id, which is the unconditional row of classifier-free guidance.
One step in five asks: a picture through the vision tower, several questions, the loss on the answers.
"""

import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    JanusConfig,
    JanusForConditionalGeneration,
    JanusVisionConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from ecgvf.nano.codec import codec_config, latents, to_input
from ecgvf.nano.muon import Muon
from ecgvf.nano.precision import autocast
from ecgvf.nano.questions import questions
from ecgvf.nano.tokenizer import ASSISTANT, EOS, IMAGE_TOKENS, PATCHES, USER, drawing_prompt
from ecgvf.nano.world import SIDE, STYLES, Scene, pictures, random_scene, things
from ecgvf.pairs.grammar import describe, held_out, sentence

WIDTH = 256
BATCH = 16
ASKING_EVERY = 5
ASKED = 8  # pictures in a step that asks: its conversations are longer than a drawing
UNCONDITIONAL_SHARE = 0.1


def build_model(tokenizer: PreTrainedTokenizerFast, layers: int = 4) -> JanusForConditionalGeneration:
    """Nano with fresh weights; the codec's are put in by the caller."""
    token = tokenizer.convert_tokens_to_ids
    config = JanusConfig(
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            num_hidden_layers=layers,
            num_attention_heads=WIDTH // 64,
            num_key_value_heads=2,  # keys and values are what drawing reads most
            max_position_embeddings=1024,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ),
        vision_config=JanusVisionConfig(
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=4,
            projection_dim=WIDTH,
            num_image_tokens=PATCHES,
        ),
        vq_config=codec_config(WIDTH),
        image_token_id=int(str(token(IMAGE_TOKENS["image_token"]))),
        tie_word_embeddings=True,
    )
    model = JanusForConditionalGeneration(config)
    for name, parameter in model.named_parameters():
        if "vqmodel" in name or parameter.ndim < 2:
            continue
        nn.init.normal_(parameter, std=0.02 if "embed" in name else parameter.shape[1] ** -0.5)
        if name.endswith(("o_proj.weight", "down_proj.weight", "projection_layer.weight", "fc2.weight")):
            nn.init.zeros_(parameter)
    nn.init.zeros_(model.model.generation_head.vision_head.weight)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        guidance_scale=5.0,
        temperature=1.0,
        top_k=0,
        generation_kwargs={"boi_token_id": token(IMAGE_TOKENS["boi_token"])},
    )
    return model


def training_scenes(rng: random.Random) -> Iterator[Scene]:
    """Endless scenes without the held-out combinations; harder styles are as frequent as plain pictures."""
    weights = [2 if thing == "church" else 1 for thing in things()]
    while True:
        thing = rng.choices(things(), weights)[0]
        scene = random_scene(rng, thing=thing, style=rng.choices(STYLES, (28, 18, 18, 18, 18))[0])
        if not held_out(scene.thing, scene.sky, scene.ground, scene.companion, scene.style):
            yield scene


@torch.no_grad()
def picture_tokens(model: JanusForConditionalGeneration, images: np.ndarray) -> np.ndarray:
    """VQ ids ``[N, 256]`` uint16 of uint8 pictures, by the model's own encoder."""
    codec = model.model.vqmodel
    rows = []
    for start in range(0, len(images), 64):
        pixels = to_input(images[start : start + 64])
        flat = latents(codec, pixels).permute(0, 2, 3, 1).reshape(len(pixels), PATCHES, -1)
        rows.append((flat @ codec.quantize.embedding.weight.T).argmax(-1).numpy().astype(np.uint16))
    return np.concatenate(rows)


class Drawings:
    """A pool of scenes with their tokens; every epoch says them in new sentences, sorted into steps of one length."""

    def __init__(self, model: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, pool: int, seed: int):
        self.rng = random.Random(f"drawings:{seed}")
        self.tokenizer = tokenizer
        endless = training_scenes(self.rng)
        self.scenes = [next(endless) for _ in range(pool)]
        self.tokens = np.concatenate(
            [picture_tokens(model, pictures(self.scenes[i : i + 512])) for i in range(0, pool, 512)]
        )

    def steps(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless ``(text ids [B, S], image ids [B, 256])``."""
        waiting: dict[int, list[tuple[list[int], int]]] = defaultdict(list)
        while True:
            order = list(range(len(self.scenes)))
            self.rng.shuffle(order)
            for start in range(0, len(order), 256):
                rows = order[start : start + 256]
                texts = []
                for row in rows:
                    scene = self.scenes[row]
                    said = describe(scene.thing, scene.sky, scene.ground, scene.companion, scene.style, self.rng)
                    texts.append(drawing_prompt(sentence(said, self.rng).text))
                for row, ids in zip(rows, self.tokenizer(texts)["input_ids"], strict=True):
                    ready = waiting[len(ids)]
                    ready.append((ids, row))
                    if len(ready) == BATCH:
                        text = torch.tensor([pair[0] for pair in ready])
                        image = torch.from_numpy(self.tokens[[pair[1] for pair in ready]].astype(np.int64))
                        waiting[len(ids)] = []
                        yield text, image


def drawing_loss(
    model: JanusForConditionalGeneration, text: Tensor, image: Tensor, backbone: Callable[[Tensor], Tensor]
) -> Tensor:
    """Mean cross-entropy of the image tokens after their sentence."""
    words = model.get_input_embeddings()(text)
    patches = model.prepare_embeddings_for_image_generation(image[:, :-1])
    hidden = backbone(torch.cat([words, patches], 1))
    logits = model.model.generation_head(hidden[:, text.shape[1] - 1 :])
    return F.cross_entropy(logits.flatten(0, 1).float(), image.flatten())


def asking_batch(
    tokenizer: PreTrainedTokenizerFast,
    scenes: list[Scene],
    rng: random.Random,
    asked: list[list[tuple[str, str]]] | None = None,
) -> tuple[Tensor, Tensor]:
    """Ids and labels ``[B, S]`` of conversations about the scenes' pictures; labels are −100 except on answers.

    `asked` gives each conversation's questions with their answers; without it five are made up.
    """
    asked = asked or [questions(scene, rng, 5) for scene in scenes]
    picture = f"{IMAGE_TOKENS['boi_token']}{IMAGE_TOKENS['image_token'] * PATCHES}{IMAGE_TOKENS['eoi_token']}\n"
    rows, labels = [], []
    for conversation in asked:
        ids, targets = [tokenizer.bos_token_id], [-100]
        for turn, (question, answer) in enumerate(conversation):
            said = f"{USER}: {picture if turn == 0 else ''}{question}\n\n{ASSISTANT}:"
            asked_ids = tokenizer(said, add_special_tokens=False)["input_ids"]
            answer_ids = tokenizer(f" {answer}{EOS}", add_special_tokens=False)["input_ids"]
            ids += asked_ids + answer_ids
            targets += [-100] * len(asked_ids) + answer_ids
        rows.append(ids)
        labels.append(targets)
    longest = max(map(len, rows))
    padded = torch.full((len(rows), longest), tokenizer.pad_token_id)
    wanted = torch.full((len(rows), longest), -100)
    for row, (ids, targets) in enumerate(zip(rows, labels, strict=True)):
        padded[row, : len(ids)] = torch.tensor(ids)
        wanted[row, : len(targets)] = torch.tensor(targets)
    return padded, wanted


def asking_loss(
    model: JanusForConditionalGeneration,
    ids: Tensor,
    labels: Tensor,
    images: Tensor,
    backbone: Callable[[Tensor], Tensor],
) -> Tensor:
    """Mean cross-entropy of the answers; right padding needs no mask under causal attention."""
    seen = model.model.aligner(model.model.vision_model(images).last_hidden_state)
    embedded = model.get_input_embeddings()(ids)
    at = (ids == model.config.image_token_id).unsqueeze(-1)
    embedded = embedded.masked_scatter(at, seen.to(embedded.dtype))
    hidden = backbone(embedded)
    answered = labels[:, 1:] != -100
    logits = model.lm_head(hidden[:, :-1][answered])
    return F.cross_entropy(logits.float(), labels[:, 1:][answered])


class Backbone(nn.Module):
    """The Llama as a function from embeddings to hidden states, so that it alone is compiled."""

    def __init__(self, language_model: nn.Module) -> None:
        super().__init__()
        self.language_model = language_model

    def forward(self, embedded: Tensor) -> Tensor:
        hidden: Tensor = self.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
        return hidden


def train(
    model: JanusForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    seconds: float,
    pool: int = 36_000,
    seed: int = 0,
    muon_rate: float = 0.02,
    adam_rate: float = 3e-3,
    cooldown: float = 0.5,
    compiled: bool = True,
) -> None:
    """Train in place for `seconds` of work; a second call goes on from the last checkpoint in `folder`.

    The rates rise over 100 steps, stay, and fall linearly to nothing over the last `cooldown` of the time.
    """
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    model.train()
    model.model.vqmodel.requires_grad_(False).eval()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    inside = ("language_model.layers", "vision_model.encoder.layers")
    matrices = [p for name, p in trained.items() if p.ndim == 2 and any(part in name for part in inside)]
    chosen = {id(p) for p in matrices}
    muon = Muon(matrices, lr=muon_rate)
    adam = torch.optim.AdamW(
        [p for p in trained.values() if id(p) not in chosen], lr=adam_rate, betas=(0.9, 0.98), weight_decay=0.0
    )
    spent, step, round_ = 0.0, 0, 0
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        spent, step, round_ = state["spent"], state["step"], state["round"] + 1
    rng = random.Random(f"language-model:{seed}:{round_}")
    drawings = Drawings(model, tokenizer, pool, seed=seed + 1000 * round_).steps()
    looking = training_scenes(rng)
    backbone: Callable[[Tensor], Tensor] = Backbone(model.model.language_model)
    if compiled:
        backbone = torch.compile(backbone, dynamic=True)
    special = [tokenizer.bos_token_id, tokenizer.convert_tokens_to_ids(IMAGE_TOKENS["boi_token"])]
    losses: dict[str, list[float]] = {"drawing": [], "asking": []}
    last_report = last_save = spent
    with (folder / "log.jsonl").open("a") as log:
        while spent < seconds:
            began = time.monotonic()
            rate = min(1.0, (step + 1) / 100, max(0.0, (1 - spent / seconds) / cooldown))
            muon.param_groups[0]["lr"] = muon_rate * rate
            adam.param_groups[0]["lr"] = adam_rate * rate
            asking = step % ASKING_EVERY == ASKING_EVERY - 1
            with autocast():
                if asking:
                    scenes = [next(looking) for _ in range(ASKED)]
                    ids, labels = asking_batch(tokenizer, scenes, rng)
                    loss = asking_loss(model, ids, labels, to_input(pictures(scenes)), backbone)
                else:
                    text, image = next(drawings)
                    dropped = torch.rand(len(text), 1) < UNCONDITIONAL_SHARE
                    kept = torch.isin(text, torch.tensor(special))
                    text = torch.where(dropped & ~kept, tokenizer.pad_token_id, text)
                    loss = drawing_loss(model, text, image, backbone)
            model.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained.values(), 1.0)
            adam.step()
            muon.step()
            losses["asking" if asking else "drawing"].append(loss.item())
            step += 1
            spent += time.monotonic() - began
            if spent - last_report > 30 or spent >= seconds:
                last_report = spent
                row = {"seconds": round(spent), "step": step, "rate": round(rate, 3)}
                row |= {name: round(float(np.mean(seen[-100:])), 4) for name, seen in losses.items() if seen}
                print(json.dumps(row), file=log, flush=True)
                print(row, flush=True)
            if spent - last_save > 180 or spent >= seconds:
                last_save = spent
                torch.save(
                    {
                        "model": model.state_dict(),
                        "muon": muon.state_dict(),
                        "adam": adam.state_dict(),
                        "spent": spent,
                        "step": step,
                        "round": round_,
                    },
                    folder / "checkpoint.tmp",
                )
                (folder / "checkpoint.tmp").replace(checkpoint)
    model.eval()
