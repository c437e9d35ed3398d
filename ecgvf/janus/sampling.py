"""Sample a token from logits and one uniform number.

Each image has its own uniform numbers, from its own seed, so that it does not depend on its place in a batch. Sampling
inverts the cumulative distribution, which needs one number per token.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ecgvf.core.sampling import Sampling

__all__ = ["Sampling", "apply_guidance", "processed_logits", "sample_tokens", "uniform_noise"]


def uniform_noise(seeds: Sequence[int], tokens: int) -> Tensor:
    """Uniform numbers in [0, 1), float64 [len(seeds), tokens] on the CPU; row i depends on seed i alone.

    PyTorch's generator uses the lower 32 bits of a seed: of 30,000 images, two share their noise with probability 0.1.
    """
    rows = torch.empty(len(seeds), tokens, dtype=torch.float64)
    for row, seed in zip(rows, seeds, strict=True):
        torch.rand(tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, out=row)
    return rows


def apply_guidance(logits: Tensor, guidance: float) -> Tensor:
    """Guided logits [B, V] of B conditional rows followed by their B unconditional rows, [2B, V]; same dtype.

    Ho and Salimans, Classifier-Free Diffusion Guidance, https://arxiv.org/abs/2207.12598, scaled as in transformers.
    """
    conditional, unconditional = logits.chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def processed_logits(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits float32 [B, V] of the distribution from which ``sample_tokens`` samples: temperature, top-k, top-p.

    Temperature 0 is treated as 1.
    """
    logits = logits.float() / (sampling.temperature or 1.0)
    if 0 < sampling.top_k < logits.shape[-1]:
        kth_largest = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < kth_largest, -torch.inf)
    if sampling.top_p < 1:
        descending, order = logits.sort(dim=-1, descending=True)
        probabilities = descending.softmax(dim=-1)
        # A token stays while the probability before it is below top_p, so the most likely one always stays.
        removed = probabilities.cumsum(dim=-1) - probabilities >= sampling.top_p
        logits = logits.masked_fill(removed.scatter(-1, order, removed), -torch.inf)
    return logits


def sample_tokens(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """One token per row, int64 [B], from logits float [B, V] and ``uniform`` float64 [B] in [0, 1)."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    scores = processed_logits(logits, sampling)
    # In float64, because the denormals that float32 has for unlikely tokens are slow.
    cumulative = scores.sub_(scores.amax(dim=-1, keepdim=True)).double().exp_().cumsum_(dim=-1)
    threshold = uniform.to(cumulative)[:, None] * cumulative[:, -1:]
    # right=True: a uniform number of exactly 0 must not select a token of probability 0.
    tokens = torch.searchsorted(cumulative, threshold, right=True).squeeze(-1)
    return tokens.clamp_(max=logits.shape[-1] - 1)
