"""Soft prompts: vectors in place of token embeddings, after the words of every prompt.

Lester et al., The Power of Scale for Parameter-Efficient Prompt Tuning, https://arxiv.org/abs/2104.08691.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from ecgvf.janus.model import JanusModel


class _WithVectors(nn.Module):
    """Token embeddings, extended by L ids for ``vectors`` [L, C]."""

    def __init__(self, frozen: nn.Embedding, vectors: Tensor) -> None:
        super().__init__()
        self._frozen, self._vectors = [frozen], vectors  # in a list: a module's parameters are its own

    def forward(self, input_ids: Tensor) -> Tensor:
        (frozen,) = self._frozen
        vocabulary = frozen.num_embeddings
        words: Tensor = frozen(input_ids.clamp(max=vocabulary - 1))
        vectors = self._vectors.to(words.dtype)[(input_ids - vocabulary).clamp(min=0)]
        return torch.where((input_ids >= vocabulary)[..., None], vectors, words)


@contextmanager
def soft_prompt(model: JanusModel, vectors: Tensor) -> Iterator[JanusModel]:
    """Within the block, a model whose prompts all end with ``vectors`` [L, C], on its device. Gradients reach them.

    The unconditional rows of guidance get no vectors. After the block ``model`` is as before.
    """
    language_model = model.language_model
    frozen = language_model.embed_tokens
    first = frozen.num_embeddings
    language_model.embed_tokens = _WithVectors(frozen, vectors)
    try:
        yield replace(model, suffix_ids=tuple(range(first, first + len(vectors))))
    finally:
        language_model.embed_tokens = frozen
