"""Run the language model while decoding: the prompts first, then one image token of every row per step."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ecgvf.core import console
from ecgvf.core.errors import first_line
from ecgvf.janus import layers
from ecgvf.janus.fused import FusedLayer, rms_norm, signed_sine
from ecgvf.janus.kv_cache import KVCache
from ecgvf.janus.model import JanusModel

CAPTURED_LENGTH = 64
"""A captured step attends to a multiple of this many positions, so that few graphs are captured."""


class Decoder:
    """The hidden states of R rows of one batch.

    Nothing that it holds refers to it, so that the GPU's memory is free as soon as the batch is done.

    Call ``prefill`` first, then ``step`` for every token but the last. ``step`` waits for the device only when it
    captures a graph.
    """

    def __init__(self, model: JanusModel, input_ids: Tensor, attention_mask: Tensor, cache: KVCache) -> None:
        """``input_ids`` and ``attention_mask`` int64 [R, S], padded on the left; ``cache`` has R rows, S + T long."""
        language_model, new_tokens = model.language_model, model.image_tokens
        self._language_model = language_model
        self._input_ids, self._cache = input_ids, cache
        self._length = input_ids.shape[1]
        self._layers = [FusedLayer(layer, model.dtype) for layer in language_model.layers]
        self._embeddings = model.image_token_embeddings
        self._positions = layers.position_ids(attention_mask, new_tokens)
        # A table by position, which is the same for every row.
        every_position = torch.arange(self._positions.shape[1], device=input_ids.device)[None]
        cosine, sine = language_model.rotary_emb(self._embeddings, every_position)
        self._cosine, self._sine = cosine[0], sine[0]
        self._padding = layers.padding_mask(attention_mask, new_tokens, model.dtype)
        self._captured = input_ids.is_cuda
        self._graph: _Graph | None = None
        self._end = 0  # of the positions that the graph attends to

    def prefill(self) -> Tensor:
        """Hidden states [R, C] from which the first image token is predicted.

        Equal rows are computed once: the unconditional rows of prompts of one length, and the same prompt with several
        seeds.
        """
        prompts, prompt_of_row = torch.unique(self._input_ids, dim=0, return_inverse=True)
        rows = torch.arange(len(prompt_of_row), device=prompts.device)
        row_of_prompt = torch.empty(len(prompts), dtype=torch.int64, device=prompts.device)
        row_of_prompt.scatter_(0, prompt_of_row, rows)  # any of them: equal ids have equal padding
        positions = self._positions[row_of_prompt, : self._length]
        rotary = self._cosine[positions], self._sine[positions]
        padding = None if self._padding is None else self._padding[row_of_prompt, ..., : self._length]
        self._cache.prompt_of_row = prompt_of_row
        embeddings = self._language_model.embed_tokens(prompts)
        mask = layers.causal_mask(padding)
        states = layers.forward(self._language_model, embeddings, rotary, mask, self._cache)
        self._sine = signed_sine(self._sine)
        return states[prompt_of_row, -1]

    def step(self, tokens: Tensor) -> Tensor:
        """Hidden states [R, C] after the image tokens int64 [R]."""
        states = self._captured_step(tokens) if self._captured else self._eager_step(tokens)
        self._length += 1
        return states

    def _eager_step(self, tokens: Tensor) -> Tensor:
        """Attend only to the positions that are written."""
        position, end = slice(self._length, self._length + 1), self._length + 1
        mask = None if self._padding is None else self._padding[..., :end]
        return self._forward(tokens, position, end, mask)

    def _captured_step(self, tokens: Tensor) -> Tensor:
        """Replay a CUDA graph: one launch costs less than the launches of all its kernels."""
        longest = self._cache.layers.shape[4]
        end = min(-(-(self._length + 1) // CAPTURED_LENGTH) * CAPTURED_LENGTH, longest)
        if self._graph is None or end != self._end:
            try:
                self._graph = _Graph(
                    lambda *inputs: self._masked_step(*inputs, end=end), tokens, self._length, self._graph
                )
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                console.note(f"rendering without a CUDA graph, which could not be captured: {first_line(error)}")
                self._captured = False
                return self._eager_step(tokens)
            self._end = end
        return self._graph(tokens, self._length)

    def _masked_step(self, tokens: Tensor, position: Tensor, *, end: int) -> Tensor:
        """``_eager_step`` with shapes that depend on ``end`` but not on ``position`` (int64 [1], below ``end``)."""
        later = torch.arange(end, device=tokens.device) > position
        mask = torch.zeros(end, dtype=self._embeddings.dtype, device=tokens.device).masked_fill_(later, -torch.inf)
        mask = mask[None, None, None] if self._padding is None else mask + self._padding[..., :end]
        return self._forward(tokens, position, end, mask)

    def _forward(self, tokens: Tensor, position: slice | Tensor, end: int, mask: Tensor | None) -> Tensor:
        positions = self._positions[:, position]
        rotary = F.embedding(positions, self._cosine), F.embedding(positions, self._sine)
        states = F.embedding(tokens, self._embeddings)
        for layer, cached in zip(self._layers, self._cache.layers, strict=True):
            states = layer(states, rotary, cached[:, :, :, :end], position, mask)
        return rms_norm(self._language_model.norm, states)


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """The same for all graphs: PyTorch keeps memory for every stream that was used."""
    return torch.cuda.Stream(device)


class _Graph:
    """A CUDA graph of a function of tokens and position. The function may allocate only from the capture's pool.

    The pool is that of ``earlier``, which must not be replayed any more: this graph overwrites what it computed. The
    function is not kept: it refers to the decoder.
    """

    def __init__(
        self,
        function: Callable[[Tensor, Tensor], Tensor],
        tokens: Tensor,
        position: int,
        earlier: "_Graph | None",
    ) -> None:
        self._tokens, self._position = tokens.clone(), torch.tensor([position], device=tokens.device)
        stream = _capture_stream(tokens.device)
        with torch.cuda.device(tokens.device):  # the current device may be another model's
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # libraries initialise on their first call, which must not be captured
                function(self._tokens, self._position)
            torch.cuda.current_stream().wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            pool = None if earlier is None else earlier._graph.pool()
            with torch.cuda.graph(self._graph, pool=pool, stream=stream):
                self._states = function(self._tokens, self._position)

    def __call__(self, tokens: Tensor, position: int) -> Tensor:
        self._tokens.copy_(tokens)
        self._position.fill_(position)
        self._graph.replay()
        return self._states.clone()
