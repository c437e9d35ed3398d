"""Prompts as the model expects them: chat template, begin-of-image, one BOS, padding on the left."""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ecgvf.core.errors import ModelError
from ecgvf.janus.model import JanusModel


def chat_prompt(model: JanusModel, prompt: str) -> str:
    """``<|User|>: {prompt}\\n\\n<|Assistant|>:<begin_of_image>``: the tokenizer's input, without BOS."""
    message = {"role": "user", "content": [{"type": "text", "text": prompt}]}
    text: str = model.processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    return text + str(model.processor.image_start_token)


def generation_ids(
    model: JanusModel, prompts: Sequence[str], *, negative_prompt: str | None = None
) -> tuple[Tensor, Tensor]:
    """Token ids of B prompts in the chat template, ready for the first image token.

    Returns ``(input_ids, attention_mask)``, int64 [B, S] each, on the model's device. Rows are padded on the left; the
    mask is 1 at a row's own ids. Each row begins with BOS and ends with begin-of-image. A control token inside a prompt
    becomes the ids of its text, unless ``model.raw_control_tokens``. ``model.rewrite`` is applied first;
    ``model.suffix_ids`` follow the words. With ``negative_prompt``, B rows of it follow, which neither changes.

    Raises ``ModelError`` for an empty prompt, and for one that leaves no room for an image.
    """
    template = chat_prompt(model, "PROMPT").split("PROMPT")
    rewritten = prompts if model.rewrite is None else [model.rewrite(prompt) for prompt in prompts]
    rows = [_row(model, prompt, template) for prompt in rewritten]
    if negative_prompt is not None:
        rows += [_row(replace(model, suffix_ids=()), negative_prompt, template)] * len(rows)
    pad, length = model.processor.tokenizer.pad_token_id, max(map(len, rows))
    input_ids = torch.tensor([[pad] * (length - len(row)) + row for row in rows], dtype=torch.int64)
    attention_mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], dtype=torch.int64)
    return input_ids.to(model.device), attention_mask.to(model.device)


def unconditional_ids(model: JanusModel, input_ids: Tensor) -> Tensor:
    """Token ids of the unconditional rows of classifier-free guidance, int64 [B, S] as ``input_ids``.

    Every id but BOS and begin-of-image becomes the pad id. As in transformers, these pads are attended to; only the
    left padding of a batch is masked. If no padding is masked, the ids that stay are the first and the last of the row.
    """
    tokenizer = model.processor.tokenizer
    kept = (input_ids == tokenizer.bos_token_id) | (input_ids == _begin_of_image(model))
    if not model.padding_masked:
        kept = torch.zeros_like(kept)
        kept[:, [0, -1]] = True
    return torch.where(kept, input_ids, tokenizer.pad_token_id)


def literal_pieces(model: JanusModel, text: str, template: Sequence[str]) -> list[str]:
    """Cut ``text`` inside control tokens that the user wrote, so that the tokenizer reads them as text.

    ``template`` is the text before and after the user's words; its own control tokens stay whole.
    """
    before, after = template
    control_token = re.compile("|".join(map(re.escape, model.processor.tokenizer.added_tokens_encoder)))
    cuts, end = [0], len(text) - len(after)
    while match := control_token.search(text, max(len(before), cuts[-1]), end):
        cuts.append(match.start() + 1)
    return [text[cut:following] for cut, following in zip(cuts, [*cuts[1:], len(text)], strict=True)]


def token_ids(model: JanusModel, pieces: Sequence[str]) -> list[int]:
    """The ids of ``pieces`` of a text, one after another, with one BOS in front."""
    tokenizer = model.processor.tokenizer
    ids: list[int] = []
    for piece in pieces:
        ids += tokenizer(piece, add_special_tokens=not ids)["input_ids"]
    return ids if ids[0] == tokenizer.bos_token_id else [tokenizer.bos_token_id, *ids]


def _row(model: JanusModel, prompt: str, template: Sequence[str]) -> list[int]:
    if not prompt.strip():
        raise ModelError("the prompt is empty: write what the image shows")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ModelError(f"the prompt is not valid Unicode ({error.reason}): write it again") from error
    text = chat_prompt(model, prompt)
    pieces = [text] if model.raw_control_tokens else literal_pieces(model, text, template)
    ids = token_ids(model, pieces) if not model.suffix_ids else _with_suffix(model, pieces, template[1])
    room = model.max_length - model.image_tokens
    if len(ids) > room:
        raise ModelError(f"the prompt has {len(ids)} tokens and {model.name} has room for {room}: shorten it")
    return ids


def _with_suffix(model: JanusModel, pieces: Sequence[str], after: str) -> list[int]:
    """The ids of ``pieces`` with those of ``model.suffix_ids`` before ``after``, the end of the template."""
    words = [*pieces[:-1], pieces[-1].removesuffix(after)]
    end: list[int] = model.processor.tokenizer(after, add_special_tokens=False)["input_ids"]
    return [*token_ids(model, words), *model.suffix_ids, *end]


def _begin_of_image(model: JanusModel) -> int:
    token_id: int = model.processor.tokenizer.convert_tokens_to_ids(model.processor.image_start_token)
    return token_id
