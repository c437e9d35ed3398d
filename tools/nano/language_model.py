"""Train nano's language model: generate images from captions, and answer questions about images.

Four steps in five generate: a caption in the chat template, then the 256 VQ ids of its image. In one row in ten every
id but BOS and begin-of-image is replaced by the pad id, which is the unconditional row of classifier-free guidance.
One step in five answers: an image through the vision tower, several questions, the loss on the answers. Auxiliary heads
add a loss to the answers and, in the first half of the time, to the generation.
"""

import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    GenerationConfig,
    JanusConfig,
    JanusForConditionalGeneration,
    JanusVisionConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from tools.nano.auxiliary_heads import DESIGNERS, AuxiliaryHeads
from tools.nano.codec import CODE_DIMENSIONS, codec_config, pad_codes, to_input
from tools.nano.frozen_codec import Codec
from tools.nano.muon import MuonAndAdamW
from tools.nano.painting import SIDE
from tools.nano.precision import autocast
from tools.nano.questions import Question, questions
from tools.nano.scenes import caption, training_scenes
from tools.nano.tokenizer import ASSISTANT, PATCHES, USER, image_prompt
from tools.nano.training_loop import TrainingLoop
from tools.nano.world import Scene, compose_batch
from tools.tokenizer import EOS, IMAGE_TOKENS

WIDTH = 256
BATCH = 16
ANSWER_EVERY = 5  # steps
ANSWER_IMAGES = 10  # in a step that answers
QUESTIONS_PER_IMAGE = 10  # an image takes many tokens, a question few
PADDED_CODE_DIMENSIONS = 64  # see `codec.pad_codes`
UNCONDITIONAL_SHARE = 0.1
ROPE_BASE = 100.0  # the longest wave of a position is 600 tokens, a conversation's length, not Llama's 60,000


def build_model(tokenizer: PreTrainedTokenizerFast, layers: int = 4) -> JanusForConditionalGeneration:
    """Nano with fresh weights; the caller loads the codec."""
    token = tokenizer.convert_tokens_to_ids
    config = JanusConfig(
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            num_hidden_layers=layers,
            num_attention_heads=WIDTH // 64,
            num_key_value_heads=2,  # image generation is bound by the memory traffic of the KV cache
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
        vq_config=codec_config(WIDTH, PADDED_CODE_DIMENSIONS),
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


def load_codec(model: JanusForConditionalGeneration, codec: dict[str, Tensor]) -> None:
    """Load a trained codec's state; the embeddings of image tokens start as the codes plus random dimensions."""
    load_padded_codec(model, pad_codes(codec, PADDED_CODE_DIMENSIONS))


def load_padded_codec(model: JanusForConditionalGeneration, codec: dict[str, Tensor]) -> None:
    """As ``load_codec``, with the state of a codec that is padded already, as in a finished model."""
    model.model.vqmodel.load_state_dict(codec)
    embeddings = model.model.generation_embeddings.weight.data
    embeddings.copy_(model.model.vqmodel.quantize.embedding.weight.data)
    nn.init.normal_(embeddings[:, CODE_DIMENSIONS:], std=1.6)  # AdamW's learning rate is small beside it


class GenerationData:
    """A pool of scenes with their VQ ids; each epoch has new captions, batched by length."""

    def __init__(
        self,
        model: JanusForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        pool: int,
        seed: int,
        without: Collection[str] = (),
    ) -> None:
        self.rng = random.Random(f"drawings:{seed}")
        self.tokenizer = tokenizer
        endless = training_scenes(self.rng, without)
        self.scenes = [replace(next(endless), designer=self.rng.choice(DESIGNERS)) for _ in range(pool)]
        codec = Codec(model.model.vqmodel)
        self.vq_ids = np.concatenate(
            [codec.encode(compose_batch(self.scenes[i : i + 512]), batch=64) for i in range(0, pool, 512)]
        )

    def batches(self) -> Iterator[tuple[Tensor, Tensor, list[Scene]]]:
        """Endless batches: prompt ids int64 ``[B, S]``, VQ ids int64 ``[B, 256]``, and their scenes."""
        by_length: dict[int, list[tuple[list[int], int]]] = defaultdict(list)
        while True:
            order = list(range(len(self.scenes)))
            self.rng.shuffle(order)
            for start in range(0, len(order), 256):
                rows = order[start : start + 256]
                prompts = [image_prompt(caption(self.scenes[row], self.rng)) for row in rows]
                for row, ids in zip(rows, self.tokenizer(prompts)["input_ids"], strict=True):
                    batch = by_length[len(ids)]
                    batch.append((ids, row))
                    if len(batch) == BATCH:
                        del by_length[len(ids)]
                        selected = [row for _, row in batch]
                        vq_ids = torch.from_numpy(self.vq_ids[selected])
                        yield torch.tensor([ids for ids, _ in batch]), vq_ids, [self.scenes[row] for row in selected]


class Backbone(nn.Module):
    """The Llama from input embeddings ``[B, S, W]`` to its last and its middle hidden states; compiled by itself."""

    def __init__(self, language_model: nn.Module) -> None:
        super().__init__()
        self.language_model = language_model
        self.middle = len(language_model.layers) // 2  # type: ignore[arg-type]

    def forward(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        states = self.language_model(inputs_embeds=embedded, use_cache=False, output_hidden_states=True)
        return states.last_hidden_state, states.hidden_states[self.middle]


def generation_loss(
    model: JanusForConditionalGeneration, prompt_ids: Tensor, vq_ids: Tensor, backbone: Backbone
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of VQ ids ``[B, 256]`` after their prompts ``[B, S]``, and their middle states ``[B, 256, W]``."""
    prompt = model.get_input_embeddings()(prompt_ids)
    image = model.prepare_embeddings_for_image_generation(vq_ids[:, :-1])
    hidden, middle = backbone(torch.cat([prompt, image], 1))
    first = prompt_ids.shape[1] - 1
    logits = model.model.generation_head(hidden[:, first:])
    return F.cross_entropy(logits.flatten(0, 1).float(), vq_ids.flatten()), middle[:, first:]


def tokenize_conversations(
    tokenizer: PreTrainedTokenizerFast, conversations: Sequence[Sequence[Question]]
) -> tuple[Tensor, Tensor]:
    """Ids and labels, int64 ``[B, S]``, of one conversation per image; only answers have labels other than −100."""
    image = f"{IMAGE_TOKENS['boi_token']}{IMAGE_TOKENS['image_token'] * PATCHES}{IMAGE_TOKENS['eoi_token']}\n"
    rows, labels = [], []
    for conversation in conversations:
        ids, targets = [tokenizer.bos_token_id], [-100]
        for turn, question in enumerate(conversation):
            user = f"{USER}: {image if turn == 0 else ''}{question.text}\n\n{ASSISTANT}:"
            question_ids = tokenizer(user, add_special_tokens=False)["input_ids"]
            answer_ids = tokenizer(f" {question.answer}{EOS}", add_special_tokens=False)["input_ids"]
            ids += question_ids + answer_ids
            targets += [-100] * len(question_ids) + answer_ids
        rows.append(torch.tensor(ids))
        labels.append(torch.tensor(targets))
    return (
        pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id),
        pad_sequence(labels, batch_first=True, padding_value=-100),
    )


def answer_loss(
    model: JanusForConditionalGeneration, ids: Tensor, labels: Tensor, images: Tensor, backbone: Backbone
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the answers, and the middle state from which each one starts, ``[M, W]``.

    Right padding needs no mask under causal attention.
    """
    patches = model.model.aligner(model.model.vision_model(images).last_hidden_state)
    embedded = model.get_input_embeddings()(ids)
    is_patch = (ids == model.config.image_token_id).unsqueeze(-1)
    hidden, middle = backbone(embedded.masked_scatter(is_patch, patches.to(embedded.dtype)))
    in_answer = labels[:, 1:] != -100
    logits = model.lm_head(hidden[:, :-1][in_answer])
    starts = in_answer & (labels[:, :-1] == -100)
    return F.cross_entropy(logits.float(), labels[:, 1:][in_answer]), middle[:, :-1][starts]


def drop_prompts(prompt_ids: Tensor, tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """Prompt ids ``[B, S]``, one row in ten turned into the unconditional row of classifier-free guidance."""
    special = torch.tensor([tokenizer.bos_token_id, tokenizer.convert_tokens_to_ids(IMAGE_TOKENS["boi_token"])])
    dropped = torch.rand(len(prompt_ids), 1) < UNCONDITIONAL_SHARE
    return torch.where(dropped & ~torch.isin(prompt_ids, special), tokenizer.pad_token_id, prompt_ids)


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
    without: Collection[str] = (),
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Train in place for `seconds` of work, with checkpoints in `folder`, from the last one if there is one.

    The learning rates rise over 100 steps, stay, and fall linearly to zero over the last `cooldown` of the time.
    No caption, image or question is about a thing in `without`.
    """
    torch.manual_seed(seed)
    model.train()
    model.model.vqmodel.requires_grad_(False).eval()
    auxiliary = AuxiliaryHeads(WIDTH)
    optimizer = _optimizer(model, auxiliary)
    parts: dict[str, Any] = {"model": model, "supervision": auxiliary, **optimizer.parts}
    loop = TrainingLoop(folder, seconds, parts, {"round": 0}, clock=clock)
    loop.extra_state["round"] += loop.resumed  # each resumed run trains on other images
    rng = random.Random(f"language-model:{seed}:{loop.extra_state['round']}")
    round_seed = seed + 1000 * loop.extra_state["round"]
    generation = GenerationData(model, tokenizer, pool, round_seed, without).batches()
    scenes_to_answer = training_scenes(rng, without)
    backbone = Backbone(model.model.language_model)
    if compiled:
        backbone.compile(dynamic=True)
    names = ("drawing", "asking", "drawing, halfway", "asking, halfway")
    recent = {name: deque[float](maxlen=100) for name in names}
    for step in loop.steps(
        lambda: {name: round(float(np.mean(losses)), 4) for name, losses in recent.items() if losses}
    ):
        if step % ANSWER_EVERY == ANSWER_EVERY - 1:
            name, auxiliary_weight = "asking", 1.0
            scenes = [next(scenes_to_answer) for _ in range(ANSWER_IMAGES)]
            conversations = [questions(scene, rng, QUESTIONS_PER_IMAGE, without) for scene in scenes]
            loss, auxiliary_loss = _answer_losses(model, tokenizer, backbone, auxiliary, scenes, conversations)
        else:
            name, auxiliary_weight = "drawing", max(0.0, 1 - 2 * loop.progress)
            loss, auxiliary_loss = _generation_losses(model, tokenizer, backbone, auxiliary, *next(generation))
        recent[name].append(loss.item())
        if auxiliary_weight:
            recent[f"{name}, halfway"].append(auxiliary_loss.item())
            loss = loss + auxiliary_weight * auxiliary_loss
        optimizer.step(loss, min(1.0, (step + 1) / 100, (1 - loop.progress) / cooldown))
    model.eval()


def _answer_losses(
    model: JanusForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    backbone: Backbone,
    auxiliary: AuxiliaryHeads,
    scenes: Sequence[Scene],
    conversations: Sequence[Sequence[Question]],
) -> tuple[Tensor, Tensor]:
    """The loss of the answers in a conversation about each scene's image, and that of the auxiliary heads."""
    ids, labels = tokenize_conversations(tokenizer, conversations)
    with autocast():
        loss, middle = answer_loss(model, ids, labels, to_input(compose_batch(scenes)), backbone)
    subjects = [question.about for conversation in conversations for question in conversation]
    repeated = [scene for scene, conversation in zip(scenes, conversations, strict=True) for _ in conversation]
    return loss, auxiliary.answer_loss(middle, repeated, subjects)


def _generation_losses(
    model: JanusForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    backbone: Backbone,
    auxiliary: AuxiliaryHeads,
    prompt_ids: Tensor,
    vq_ids: Tensor,
    scenes: Sequence[Scene],
) -> tuple[Tensor, Tensor]:
    """The loss of the scenes' VQ ids ``[B, 256]`` after prompts ``[B, S]``, and that of the auxiliary heads."""
    with autocast():
        loss, middle = generation_loss(model, drop_prompts(prompt_ids, tokenizer), vq_ids, backbone)
    return loss, auxiliary.generation_loss(middle, scenes)


def _optimizer(model: JanusForConditionalGeneration, auxiliary: AuxiliaryHeads) -> MuonAndAdamW:
    muon_modules = (
        "language_model.layers", "vision_model.encoder.layers", "generation_aligner", "generation_head.proj_out",
    )  # fmt: skip
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    return MuonAndAdamW(
        [*trained, *auxiliary.named_parameters()],
        lambda name, parameter: parameter.ndim == 2 and any(module in name for module in muon_modules),
        muon_lr=0.03,
        adamw_lr=4e-3,
        decay=0.01,
        slow=lambda name: "vision_model" in name,  # it is pretrained, and a full learning rate undoes that
    )
