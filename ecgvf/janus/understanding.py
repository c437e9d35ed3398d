"""Yes/no questions about images, which the model sees through its vision tower and answers in text.

The answer is the likelier of " Yes" and " No" after the chat template. So nothing is sampled, and it does not matter
how the model would go on ("Yes.", "Yes, there is a church").
"""

from collections.abc import Sequence
from itertools import takewhile

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.models.janus.processing_janus import DEFAULT_SYSTEM_PROMPT

from ecgvf.core.errors import ModelError
from ecgvf.janus import layers
from ecgvf.janus.model import JanusModel
from ecgvf.janus.prompting import literal_pieces, token_ids

YES, NO = " Yes", " No"


@torch.no_grad()
def yes_probabilities(
    model: JanusModel, images: Sequence[NDArray[np.uint8]], questions: Sequence[Sequence[str]]
) -> list[list[float]]:
    """P(yes) / (P(yes) + P(no)), in [0, 1], for each question of ``questions[i]``, which are about ``images[i]``.

    ``images`` are RGB [H, W, 3], of any sizes, which the model's processor resizes. They are one batch, and each is
    read once. The result is NaN where the model's logits are not finite. A control token inside a question is read as
    text. Raises ``ModelError`` for an empty question, and for one that is too long.
    """
    yes, no, common = _answer_ids(model)
    template = question_prompt(model, "QUESTION").split("QUESTION")
    packed = [_pack(model, [_row(model, text, template) + common for text in texts]) for texts in questions]
    # What pads a row comes after everything that is read, in a group of its own.
    ids, positions, groups = (
        pad_sequence(list(rows), batch_first=True, padding_value=-1).to(model.device)
        for rows in zip(*packed, strict=True)
    )
    embeddings = _embed(model, ids.clamp(min=0), images)
    rotary = model.language_model.rotary_emb(embeddings, positions)
    states = layers.forward(model.language_model, embeddings, rotary, _mask(groups, embeddings.dtype))
    is_last = (groups > 0) & (groups != F.pad(groups[:, 1:], (0, 1), value=-1))
    head = model.model.lm_head.weight
    # In float32: the two logits of a bfloat16 model would often be equal.
    margins = states[is_last].float() @ (head[yes].float() - head[no].float())
    return [part.tolist() for part in margins.sigmoid().split([len(texts) for texts in questions])]


def question_prompt(model: JanusModel, question: str) -> str:
    """``<|User|>: {image}\\n{question}\\n\\n<|Assistant|>:``: the tokenizer's input, without BOS.

    The image is begin-of-image, a placeholder for each patch, and end-of-image. The system prompt comes first if the
    model's processor uses it. Raises ``ModelError`` for a chat template without images.
    """
    processor = model.processor
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    text: str = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    before, placeholder, after = text.partition(processor.image_token)
    if not placeholder:
        raise ModelError(f"the chat template of {model.name} has no place for an image: restore the model's files")
    image = processor.image_start_token + placeholder * model.image_tokens + processor.image_end_token
    system = DEFAULT_SYSTEM_PROMPT if processor.use_default_system_prompt else ""
    return f"{system}{before}{image}{after}"


def _row(model: JanusModel, question: str, template: Sequence[str]) -> list[int]:
    if not question.strip():
        raise ModelError("a question is empty: ask what the image shows")
    ids = token_ids(model, literal_pieces(model, question_prompt(model, question), template))
    if len(ids) >= model.max_length:
        raise ModelError(
            f"the question {question[:40]!r} has {len(ids)} tokens with its image, and {model.name} has room for "
            f"{model.max_length - 1}: shorten it"
        )
    return ids


def _answer_ids(model: JanusModel) -> tuple[int, int, list[int]]:
    """The first ids in which yes and no differ, and the ids before them, which are equal."""
    yes, no = (model.processor.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (YES, NO))
    common = [first for first, _ in takewhile(lambda pair: pair[0] == pair[1], zip(yes, no, strict=False))]
    return yes[len(common)], no[len(common)], common


def _pack(model: JanusModel, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """One sequence of an image and all the questions about it: ids, positions and groups, int64 [S] each.

    ``rows`` are the ids of the image and one question each. The image is group 0 and question i is group i + 1, whose
    positions are those after the image, as if it were the only one.
    """
    start = len(rows[0]) - rows[0][::-1].index(model.model.config.image_token_id)
    ids, positions, groups = rows[0][:start], list(range(start)), [0] * start
    for group, row in enumerate(rows, 1):
        ids += row[start:]
        positions += range(start, len(row))
        groups += [group] * (len(row) - start)
    return torch.tensor(ids), torch.tensor(positions), torch.tensor(groups)


def _mask(groups: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a position attends, to itself and earlier ones of its group and of the image, else -inf: [B, 1, S, S]."""
    queries, keys = groups[:, None, :, None], groups[:, None, None, :]
    attended = ((keys == queries) | (keys == 0)).tril()
    return torch.zeros(attended.shape, dtype=dtype, device=groups.device).masked_fill_(~attended, -torch.inf)


def _embed(model: JanusModel, ids: Tensor, images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """The language model's input [B, S, C] for ids int64 [B, S], in which placeholders stand for ``images``."""
    # Copies, since PyTorch warns of arrays that are not writable.
    pixels = model.processor.image_processor(images=[image.copy() for image in images], return_tensors="pt")
    pixels = pixels["pixel_values"].to(device=model.device, dtype=model.dtype)
    patches = model.model.model.aligner(model.model.model.vision_model(pixels).last_hidden_state)
    text: Tensor = model.language_model.embed_tokens(ids)
    is_patch = (ids == model.model.config.image_token_id).unsqueeze(-1)
    return text.masked_scatter(is_patch, patches.to(text.dtype))
