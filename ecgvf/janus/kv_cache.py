"""A KV cache in one buffer that is allocated once."""

from typing import Any

import torch
from torch import Tensor


class KVCache:
    """Keys and values of every layer; the layers call ``update`` as they do with transformers' ``Cache``.

    ``config`` is the language model's; the buffer has room for ``max_length`` positions of ``batch_size`` rows, in the
    dtype and on the device of ``like``.
    """

    def __init__(self, config: Any, batch_size: int, max_length: int, like: Tensor) -> None:
        heads = config.num_key_value_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (config.num_hidden_layers, 2, batch_size, heads, max_length, head_dim)
        self._buffer = torch.empty(shape, dtype=like.dtype, device=like.device)
        self.length = 0
        """Positions that every layer has; ``layers.forward`` adds to it after the last layer."""

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append keys and values [B, heads, n, head_dim] to those of ``layer``, and return all of both."""
        end = self.length + keys.shape[2]
        cached = self._buffer[layer]
        cached[0, :, :, self.length : end] = keys
        cached[1, :, :, self.length : end] = values
        return cached[0, :, :, :end], cached[1, :, :, :end]
