"""From guided logits and one uniform number to one token.

Each picture brings its own uniforms, drawn from its own seed, so a picture depends on its seed and not on its place in
a batch. Inverse CDF, because it needs one number per token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ecgvf.core.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. ``temperature`` 0 takes the most likely one; ``top_k`` 0 and ``top_p`` 1 keep them all."""

    guidance: float = 5.0
    """Scale of classifier-free guidance: uncond + guidance x (cond - uncond); 1 is none, at half the cost."""
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.guidance < float("inf"):
            raise SettingsError(f"guidance is {self.guidance}: it must be a number from 0 up (5 is Janus's own)")
        if not 0 <= self.temperature < float("inf"):
            raise SettingsError(f"temperature is {self.temperature}: it must be a number from 0 up")
        if self.top_k < 0:
            raise SettingsError(f"top_k is {self.top_k}: it must be 0 (all tokens) or more")
        if not 0 < self.top_p <= 1:
            raise SettingsError(f"top_p is {self.top_p}: it must be above 0 and at most 1")

    @property
    def guided(self) -> bool:
        return self.guidance != 1.0


def noise(seeds: Sequence[int], tokens: int) -> Tensor:
    """Uniform numbers in [0, 1), float64 [len(seeds), tokens] on the CPU; row i depends on seed i alone."""
    rows = torch.empty(len(seeds), tokens, dtype=torch.float64)
    for row, seed in zip(rows, seeds, strict=True):
        torch.rand(tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, out=row)
    return rows


def guide(logits: Tensor, guidance: float) -> Tensor:
    """Conditional rows over unconditional rows [2B, V] → guided logits [B, V]."""
    conditional, unconditional = logits.chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def pick(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """One token per row: ``logits`` float [B, V], ``uniform`` [B] in [0, 1) → int64 [B]."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.float() / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        mass = ordered.softmax(dim=-1)
        # A token stays while the mass before it is below top_p, so the most likely one always stays.
        beyond = mass.cumsum(dim=-1) - mass >= sampling.top_p
        logits = logits.masked_fill(beyond.scatter(-1, order, beyond), -torch.inf)
    cumulative = logits.softmax(dim=-1).double().cumsum(dim=-1)
    threshold = uniform.to(cumulative)[:, None] * cumulative[:, -1:]
    # right=True: a uniform of exactly 0 must not pick a token of probability 0.
    token = torch.searchsorted(cumulative, threshold, right=True).squeeze(-1)
    return token.clamp_(max=logits.shape[-1] - 1)
