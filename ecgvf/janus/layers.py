"""Embeddings through the language model's own layers, with or without a key-value cache.

The layers are the model's (tuned projections included); what is left out is the bookkeeping that `transformers` does at
every step, which for a small model costs more than the layers.
"""

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

_CACHE = "cache" if "cache" in inspect.signature(LlamaDecoderLayer.forward).parameters else "past_key_values"
"""What a layer calls its keys and values; renamed in transformers 5.24."""


class KVCache:
    """Keys and values of every layer in buffers allocated once; the layers call ``update`` as they would a `Cache`."""

    def __init__(self, config: Any, rows: int, positions: int, like: Tensor) -> None:
        heads = config.num_key_value_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (config.num_hidden_layers, 2, rows, heads, positions, width)
        self._buffers = torch.empty(shape, dtype=like.dtype, device=like.device)
        self.filled = 0

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append ``keys`` and ``values`` [rows, heads, n, width] to a layer's, and return all of them so far."""
        end = self.filled + keys.shape[2]
        stored = self._buffers[layer]
        stored[0, :, :, self.filled : end] = keys
        stored[1, :, :, self.filled : end] = values
        return stored[0, :, :, :end], stored[1, :, :, :end]


def positions(mask: Tensor, more: int) -> Tensor:
    """Position ids of a left-padded prompt and ``more`` tokens after it, int64 [B, S + more], counted from BOS = 0.

    A row's positions therefore do not depend on how far its neighbours made it be padded.
    """
    padding = (1 - mask).sum(dim=-1, keepdim=True)
    return (torch.arange(mask.shape[1] + more, device=mask.device)[None] - padding).clamp_(min=0)


def padding_mask(mask: Tensor, more: int, dtype: torch.dtype) -> Tensor | None:
    """-inf at the left padding, 0 at a row's own ids and at ``more`` tokens after them: [B, 1, 1, S + more].

    ``mask`` int64 [B, S] is 1 at a row's own ids. None where no row is padded.
    """
    if bool(mask.all()):
        return None
    padded = torch.nn.functional.pad(mask == 0, (0, more))[:, None, None, :]
    return torch.zeros(padded.shape, dtype=dtype, device=mask.device).masked_fill_(padded, -torch.inf)


def causal_mask(padding: Tensor | None) -> Tensor | None:
    """``padding`` [B, 1, 1, N] and what comes later: [B, 1, N, N]; None where plain causal attention is enough."""
    if padding is None:
        return None
    length = padding.shape[-1]
    later = torch.full((length, length), -torch.inf, dtype=padding.dtype, device=padding.device).triu(diagonal=1)
    itself = torch.eye(length, dtype=torch.bool, device=padding.device)
    # A padding position attends itself: nobody reads it, and an empty softmax would be NaN.
    return (padding + later).masked_fill(itself, 0.0)


def run(
    language_model: Any,
    embeddings: Tensor,
    rotary: tuple[Tensor, Tensor],
    mask: Tensor | None,
    cache: KVCache | None = None,
) -> Tensor:
    """Final states (after the last norm) of ``embeddings`` [B, N, C] → [B, N, C].

    ``rotary`` are cosine and sine at the N positions, [B, N, width]; ``mask`` [B, 1, N, N (+ cached)] is added to the
    attention scores, None for plain causal attention. With a ``cache``, the N positions are appended to it.
    """
    states = embeddings
    for layer in language_model.layers:
        states = layer(states, attention_mask=mask, position_embeddings=rotary, **{_CACHE: cache})
    if cache is not None:
        cache.filled += embeddings.shape[1]
    final: Tensor = language_model.norm(states)
    return final
