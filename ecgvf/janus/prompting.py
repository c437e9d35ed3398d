"""Prompts as the model expects them: chat template, begin-of-image, one BOS, padding on the left."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ecgvf.core.errors import ModelError
from ecgvf.janus.model import JanusModel


def chat_prompt(model: JanusModel, prompt: str) -> str:
    """``<|User|>: {prompt}\\n\\n<|Assistant|>:<begin_of_image>``: the tokenizer's input, without BOS."""
    message = {"role": "user", "content": [{"type": "text", "text": prompt}]}
    text: str = model.processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    return text + str(model.processor.image_start_token)


def generation_ids(model: JanusModel, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids of B prompts in the chat template, ready for the first image token.

    Returns ``(input_ids, attention_mask)``, int64 [B, S] each, on the model's device. Rows are padded on the left; the
    mask is 1 at a row's own ids. Each row has exactly one BOS, its first id, and ends with begin-of-image.

    Raises ``ModelError`` for a prompt that contains a special token of the tokenizer.
    """
    tokenizer = model.processor.tokenizer
    bos, pad, start = tokenizer.bos_token_id, tokenizer.pad_token_id, _begin_of_image(model)
    rows = []
    for prompt in prompts:
        ids = tokenizer(chat_prompt(model, prompt), add_special_tokens=True)["input_ids"]
        if ids[0] != bos:
            ids = [bos, *ids]
        if ids.count(bos) != 1 or ids.count(start) != 1 or ids[-1] != start:
            raise ModelError(f"the prompt {prompt!r} spells a special token of the tokenizer: take it out")
        rows.append(ids)
    length = max(map(len, rows))
    input_ids = torch.tensor([[pad] * (length - len(row)) + row for row in rows], dtype=torch.int64)
    attention_mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], dtype=torch.int64)
    return input_ids.to(model.device), attention_mask.to(model.device)


def unconditional_ids(model: JanusModel, input_ids: Tensor) -> Tensor:
    """Token ids of the unconditional rows of classifier-free guidance, int64 [B, S] as ``input_ids``.

    Every id but BOS and begin-of-image becomes the pad id. As in transformers, these pads are attended to; only the
    left padding of a batch is masked.
    """
    tokenizer = model.processor.tokenizer
    kept = (input_ids == tokenizer.bos_token_id) | (input_ids == _begin_of_image(model))
    return torch.where(kept, input_ids, tokenizer.pad_token_id)


def _begin_of_image(model: JanusModel) -> int:
    token_id: int = model.processor.tokenizer.convert_tokens_to_ids(model.processor.image_start_token)
    return token_id
