"""A KV cache in one buffer that is allocated once."""

import math
import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor


class KVCache:
    """Keys and values of every layer, for up to ``length`` positions of ``rows``.

    The modules of transformers call ``update`` for a prompt, which fills the first positions; decoding writes the rest.
    """

    def __init__(self, layers: Tensor) -> None:
        self.layers = layers
        """[layers, 2 (keys, values), rows, kv heads, length, head dim]. Unwritten positions are 0 on a GPU; on a CPU
        they have what the memory held before, which may be NaN."""
        self.prompt_of_row: Tensor | slice = slice(None)
        """int64 [rows]: the index of each row's prompt among those that ``update`` gets; by default the row's own."""

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write keys and values [prompts, kv heads, n, D] of the first n positions of ``layer``, and return them."""
        self.layers[layer, 0, :, :, : keys.shape[2]] = keys[self.prompt_of_row]
        self.layers[layer, 1, :, :, : keys.shape[2]] = values[self.prompt_of_row]
        return keys, values


@contextmanager
def allocate_kv_cache(
    config: Any, rows: int, length: int, dtype: torch.dtype, device: torch.device
) -> Iterator[KVCache]:
    """A cache for a model of ``config`` (of its language model), until the end of the block.

    On a CPU its memory is kept for the next cache, because the first access to new memory is slow: the operating system
    clears it page by page.
    """
    shape = (config.num_hidden_layers, 2, rows, config.num_key_value_heads, length, head_dim(config))
    if device.type != "cpu":
        yield KVCache(torch.zeros(shape, dtype=dtype, device=device))
        return
    size = math.prod(shape) * dtype.itemsize
    buffer = _kept.pop() if _kept else torch.empty(0, dtype=torch.uint8)
    if len(buffer) < size:
        buffer = _large_pages(size)
    try:
        yield KVCache(buffer[:size].view(dtype).view(shape))
    finally:
        _kept[:] = [buffer]


def head_dim(config: Any) -> int:
    """Size of an attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def bytes_per_position(config: Any, dtype: torch.dtype) -> int:
    """Bytes per position of one row, in all layers."""
    return int(2 * config.num_hidden_layers * config.num_key_value_heads * head_dim(config) * dtype.itemsize)


_kept: list[Tensor] = []
"""The memory of the last cache, if no cache uses it; uint8."""


def _large_pages(size: int) -> Tensor:
    """``size`` bytes of zeros, in large pages if the operating system has them: a long cache spans many small ones.

    Raises an error that ``lacks_memory``.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(size, dtype=torch.uint8)
    try:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise torch.OutOfMemoryError(f"cannot allocate {size} bytes of KV cache: {error.strerror}") from error
    with suppress(OSError):  # the kernel has none
        pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.uint8)
