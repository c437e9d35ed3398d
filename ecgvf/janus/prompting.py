"""A prompt as the model wants it: chat template, begin-of-image, one BOS, padding on the left."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ecgvf.core.errors import ModelError
from ecgvf.janus.loading import JanusModel


def chat(model: JanusModel, prompt: str) -> str:
    """``<|User|>: {prompt}\\n\\n<|Assistant|>:<begin_of_image>``: what the tokenizer gets, without BOS."""
    message = {"role": "user", "content": [{"type": "text", "text": prompt}]}
    text: str = model.processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    return text + str(model.processor.image_start_token)


def generation_ids(model: JanusModel, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids of ``prompts`` in the chat template, ready for the first image token.

    Returns ``(input_ids, attention_mask)``, int64 [B, S] each, on the model's device: rows are padded on the left, the
    mask is 1 on a row's own ids. Each row has exactly one BOS, its first id, and ends with begin-of-image.

    Raises ``ModelError`` where a prompt spells a special token of the tokenizer.
    """
    tokenizer = model.processor.tokenizer
    bos, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    start = tokenizer.convert_tokens_to_ids(model.processor.image_start_token)
    rows = []
    for prompt in prompts:
        ids = tokenizer(chat(model, prompt), add_special_tokens=True)["input_ids"]
        if ids[0] != bos:
            ids = [bos, *ids]
        if ids.count(bos) != 1 or ids.count(start) != 1 or ids[-1] != start:
            raise ModelError(f"the prompt {prompt!r} spells a special token of the tokenizer: take it out")
        rows.append(ids)
    width = max(map(len, rows))
    input_ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], dtype=torch.int64)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], dtype=torch.int64)
    return input_ids.to(model.device), mask.to(model.device)


def unconditional(model: JanusModel, input_ids: Tensor) -> Tensor:
    """The rows that guidance subtracts: every id but BOS and begin-of-image becomes the pad id. int64 [B, S].

    These pads are attended, as `transformers` does it; only a batch's left padding is masked.
    """
    tokenizer = model.processor.tokenizer
    start = tokenizer.convert_tokens_to_ids(model.processor.image_start_token)
    kept = (input_ids == tokenizer.bos_token_id) | (input_ids == start)
    return torch.where(kept, input_ids, tokenizer.pad_token_id)
