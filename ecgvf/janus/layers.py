"""Run embeddings through the language model's own layers, with or without a KV cache.

The layers are the model's, including tuned projections. Only the bookkeeping of transformers at every step is left out,
since it takes longer than the layers of a small model.
"""

import inspect
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from ecgvf.janus.kv_cache import KVCache

_CACHE = "cache" if "cache" in inspect.signature(LlamaDecoderLayer.forward).parameters else "past_key_values"
"""The keyword of a layer's KV cache, renamed in transformers 5.24."""


def position_ids(attention_mask: Tensor, new_tokens: int) -> Tensor:
    """Position ids of left-padded prompts and ``new_tokens`` after them, int64 [B, S + new_tokens].

    ``attention_mask`` int64 [B, S] is 1 at a row's own ids. BOS has position 0, so that a row's positions do not depend
    on its padding.
    """
    padding = (1 - attention_mask).sum(dim=-1, keepdim=True)
    length = attention_mask.shape[1] + new_tokens
    return (torch.arange(length, device=attention_mask.device)[None] - padding).clamp_(min=0)


def padding_mask(attention_mask: Tensor, new_tokens: int, dtype: torch.dtype) -> Tensor | None:
    """-inf at the left padding, 0 at a row's own ids and its new tokens, [B, 1, 1, S + new_tokens] in ``dtype``.

    ``attention_mask`` as in ``position_ids``. None if no row is padded.
    """
    if bool(attention_mask.all()):
        return None
    padded = torch.nn.functional.pad(attention_mask == 0, (0, new_tokens))[:, None, None, :]
    return torch.zeros(padded.shape, dtype=dtype, device=padded.device).masked_fill_(padded, -torch.inf)


def causal_mask(padding: Tensor | None) -> Tensor | None:
    """``padding`` [B, 1, 1, N] and -inf at later positions, [B, 1, N, N]; None if plain causal attention is enough."""
    if padding is None:
        return None
    length = padding.shape[-1]
    later = torch.full((length, length), -torch.inf, dtype=padding.dtype, device=padding.device).triu(diagonal=1)
    diagonal = torch.eye(length, dtype=torch.bool, device=padding.device)
    # A padding position attends to itself: nothing reads it, and an empty softmax would be NaN.
    return (padding + later).masked_fill(diagonal, 0.0)


def forward(
    language_model: Any,
    embeddings: Tensor,
    rotary: tuple[Tensor, Tensor],
    mask: Tensor | None,
    cache: KVCache | None = None,
    *,
    checkpointing: bool = False,
) -> Tensor:
    """Hidden states after the final norm, [B, N, C], of ``embeddings`` [B, N, C].

    ``rotary`` are cosine and sine at the N positions, [B, N, head_dim] each. ``mask`` [B, 1, N, N] is
    added to the attention scores; None is plain causal attention. The N positions are written to ``cache``.
    ``checkpointing`` keeps only each layer's input for the backward pass, and computes the rest again.
    """
    states = embeddings
    for layer in language_model.layers:
        call = partial(layer, attention_mask=mask, position_embeddings=rotary, **{_CACHE: cache})
        states = checkpoint(call, states, use_reentrant=False) if checkpointing else call(states)
    normed: Tensor = language_model.norm(states)
    return normed
