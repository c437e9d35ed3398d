"""The language model of nano: it learns to draw from sentences, and to answer about pictures.

Four steps in five draw: a sentence in the chat template, then the codec's 256 tokens of its picture. One row in ten has
every id but BOS and begin-of-image replaced by the pad id, which is the unconditional row of classifier-free guidance.
One step in five asks: a picture through the vision tower, several questions, the loss on the answers. Deep supervision
helps the asking, and in the first half of the time the drawing.
"""

import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

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

from ecgvf.world.grammar import describe, held_out, sentence
from tools.nano.codec import CODE_DIMENSIONS, codec_config, latents, to_input, widened
from tools.nano.lesson import Lesson
from tools.nano.muon import MuonAndAdam
from tools.nano.precision import autocast
from tools.nano.questions import Question, questions
from tools.nano.supervision import HANDS, DeepSupervision
from tools.nano.tokenizer import ASSISTANT, EOS, IMAGE_TOKENS, PATCHES, USER, drawing_prompt
from tools.nano.world import SIDE, STYLES, Scene, pictures, random_scene, things

WIDTH = 256
BATCH = 16
ASKING_EVERY = 5
ASKED = 10  # pictures in a step that asks
QUESTIONS = 10  # about each: a picture is long, a question is short
CODE_SPACE = 64  # dimensions of a code: the codec's eight, and more to tell codes apart by (`codec.widened`)
UNCONDITIONAL_SHARE = 0.1
ROPE_BASE = 100.0  # the longest wave of a position is 600 tokens, a conversation's length, not Llama's 60,000


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
            rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
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
        vq_config=codec_config(WIDTH, CODE_SPACE),
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
        guidance_scale=1.25,
        temperature=0.5,
        top_k=0,
        generation_kwargs={"boi_token_id": token(IMAGE_TOKENS["boi_token"])},
    )
    return model


def put_in_codec(model: JanusForConditionalGeneration, codec: dict[str, Tensor]) -> None:
    """Give `model` a trained codec's state; its embeddings of tokens start as their codes, told apart by chance."""
    model.model.vqmodel.load_state_dict(widened(codec, CODE_SPACE))
    embeddings = model.model.generation_embeddings.weight.data
    embeddings.copy_(model.model.vqmodel.quantize.embedding.weight.data)
    nn.init.normal_(embeddings[:, CODE_DIMENSIONS:], std=1.6)  # AdamW's rate is small beside it


def training_scenes(rng: random.Random) -> Iterator[Scene]:
    """Endless scenes without the held-out combinations, by all designers; a plain picture is the likeliest."""
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
        self.scenes = [replace(next(endless), designer=self.rng.choice(HANDS)) for _ in range(pool)]
        self.tokens = np.concatenate(
            [picture_tokens(model, pictures(self.scenes[i : i + 512])) for i in range(0, pool, 512)]
        )

    def steps(self) -> Iterator[tuple[Tensor, Tensor, list[Scene]]]:
        """Endless ``(text ids [B, S], image ids [B, 256], their scenes)``."""
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
                        drawn = [pair[1] for pair in ready]
                        image = torch.from_numpy(self.tokens[drawn].astype(np.int64))
                        waiting[len(ids)] = []
                        yield text, image, [self.scenes[number] for number in drawn]


def drawing_loss(
    model: JanusForConditionalGeneration, text: Tensor, image: Tensor, backbone: "Backbone"
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the image tokens ``[B, 256]`` after their text, and the states halfway up, ``[B, 256, W]``."""
    words = model.get_input_embeddings()(text)
    patches = model.prepare_embeddings_for_image_generation(image[:, :-1])
    hidden, halfway = backbone(torch.cat([words, patches], 1))
    logits = model.model.generation_head(hidden[:, text.shape[1] - 1 :])
    return F.cross_entropy(logits.flatten(0, 1).float(), image.flatten()), halfway[:, text.shape[1] - 1 :]


def asking_batch(
    tokenizer: PreTrainedTokenizerFast,
    asked: list[list[Question]],
) -> tuple[Tensor, Tensor]:
    """Ids and labels ``[B, S]`` of conversations, each about a picture; labels are −100 except on answers."""
    picture = f"{IMAGE_TOKENS['boi_token']}{IMAGE_TOKENS['image_token'] * PATCHES}{IMAGE_TOKENS['eoi_token']}\n"
    rows, labels = [], []
    for conversation in asked:
        ids, targets = [tokenizer.bos_token_id], [-100]
        for turn, question in enumerate(conversation):
            said = f"{USER}: {picture if turn == 0 else ''}{question.text}\n\n{ASSISTANT}:"
            asked_ids = tokenizer(said, add_special_tokens=False)["input_ids"]
            answer_ids = tokenizer(f" {question.answer}{EOS}", add_special_tokens=False)["input_ids"]
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
    model: JanusForConditionalGeneration, ids: Tensor, labels: Tensor, images: Tensor, backbone: "Backbone"
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the answers; and the states halfway up where each begins, ``[M, W]``.

    Right padding needs no mask under causal attention.
    """
    seen = model.model.aligner(model.model.vision_model(images).last_hidden_state)
    embedded = model.get_input_embeddings()(ids)
    at = (ids == model.config.image_token_id).unsqueeze(-1)
    embedded = embedded.masked_scatter(at, seen.to(embedded.dtype))
    hidden, halfway = backbone(embedded)
    answered = labels[:, 1:] != -100
    logits = model.lm_head(hidden[:, :-1][answered])
    begins = answered & (labels[:, :-1] == -100)
    return F.cross_entropy(logits.float(), labels[:, 1:][answered]), halfway[:, :-1][begins]


class Backbone(nn.Module):
    """The Llama as a function from embeddings to its last states and those halfway up, so that it alone is compiled."""

    def __init__(self, language_model: nn.Module) -> None:
        super().__init__()
        self.language_model = language_model
        self.halfway = len(language_model.layers) // 2  # type: ignore[arg-type]

    def forward(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        states = self.language_model(inputs_embeds=embedded, use_cache=False, output_hidden_states=True)
        return states.last_hidden_state, states.hidden_states[self.halfway]


def train(
    model: JanusForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    seconds: float,
    pool: int = 36_000,
    seed: int = 0,
    cooldown: float = 0.8,
    compiled: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Train in place for `seconds` of work; a second call goes on from the last checkpoint in `folder`.

    The rates rise over 100 steps, stay, and fall linearly to nothing over the last `cooldown` of the time.
    """
    torch.manual_seed(seed)
    model.train()
    model.model.vqmodel.requires_grad_(False).eval()
    supervision = DeepSupervision(WIDTH)
    inside = ("language_model.layers", "vision_model.encoder.layers", "generation_aligner", "generation_head.proj_out")
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    optimizer = MuonAndAdam(
        [*trained, *supervision.named_parameters()],
        lambda name, parameter: parameter.ndim == 2 and any(part in name for part in inside),
        muon_rate=0.03,
        adam_rate=4e-3,
        decay=0.01,
        slow=lambda name: "vision_model" in name,  # it has had its own lesson, and a full rate undoes that
    )
    parts: dict[str, Any] = {"model": model, "supervision": supervision, **optimizer.parts}
    lesson = Lesson(folder, seconds, parts, {"round": 0}, clock=clock)
    lesson.kept["round"] += lesson.resumed  # another round sees other pictures
    rng = random.Random(f"language-model:{seed}:{lesson.kept['round']}")
    drawings = Drawings(model, tokenizer, pool, seed=seed + 1000 * lesson.kept["round"]).steps()
    looking = training_scenes(rng)
    backbone = Backbone(model.model.language_model)
    if compiled:
        backbone.compile(dynamic=True)
    names = ("drawing", "asking", "drawing, halfway", "asking, halfway")
    recent = {name: deque[float](maxlen=100) for name in names}
    for step in lesson.steps(lambda: {name: round(float(np.mean(seen)), 4) for name, seen in recent.items() if seen}):
        asking = step % ASKING_EVERY == ASKING_EVERY - 1
        with autocast():
            if asking:
                scenes = [next(looking) for _ in range(ASKED)]
                asked = [questions(scene, rng, QUESTIONS) for scene in scenes]
                ids, labels = asking_batch(tokenizer, asked)
                loss, halfway = asking_loss(model, ids, labels, to_input(pictures(scenes)), backbone)
            else:
                text, image, scenes = next(drawings)
                loss, halfway = drawing_loss(model, without_sentence(text, tokenizer), image, backbone)
        recent["asking" if asking else "drawing"].append(loss.item())
        if asking:
            about = [question.about for conversation in asked for question in conversation]
            helped = supervision.asking(halfway, [scene for scene in scenes for _ in range(QUESTIONS)], about)
            recent["asking, halfway"].append(helped.item())
            loss = loss + helped
        elif (share := 1 - 2 * lesson.progress) > 0:
            helped = supervision.drawing(halfway, scenes)
            recent["drawing, halfway"].append(helped.item())
            loss = loss + share * helped
        optimizer.step(loss, min(1.0, (step + 1) / 100, (1 - lesson.progress) / cooldown))
    model.eval()


def without_sentence(text: Tensor, tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """`text` ``[B, S]`` with one row in ten made the unconditional row of classifier-free guidance."""
    special = torch.tensor([tokenizer.bos_token_id, tokenizer.convert_tokens_to_ids(IMAGE_TOKENS["boi_token"])])
    dropped = torch.rand(len(text), 1) < UNCONDITIONAL_SHARE
    return torch.where(dropped & ~torch.isin(text, special), tokenizer.pad_token_id, text)
