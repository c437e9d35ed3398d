"""Tuned modules: what replaces a frozen module of the language model while an adapter is active."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

SCALING = 1.0
"""Of LoRA that is trained here; an edited adapter_config.json may have another."""


class Projection(nn.Linear):
    """Replaces a frozen projection: a weight of its own, and the frozen bias if there is one.

    The weight may be float32 in a bfloat16 model: it is cast when it is used, and its gradient is float32.
    """

    weight: nn.Parameter

    def __init__(self, weight: Tensor, frozen: nn.Linear) -> None:
        super().__init__(frozen.in_features, frozen.out_features, bias=False, device="meta")
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = frozen.bias

    def forward(self, states: Tensor) -> Tensor:
        return F.linear(states, self.weight.to(states.dtype), self.bias)


class Norm(LlamaRMSNorm):
    """Replaces a frozen RMSNorm, with a weight of its own, which may be float32 in a bfloat16 model."""

    weight: nn.Parameter

    def __init__(self, weight: Tensor, frozen: LlamaRMSNorm) -> None:
        super().__init__(len(weight), frozen.variance_epsilon)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, states: Tensor) -> Tensor:
        normed: Tensor = super().forward(states)
        return normed.to(states.dtype)


class LoRAProjection(nn.Linear):
    """Replaces a frozen projection: frozen weight + ``scaling`` · B A, where A [r, in] and B [out, r] are tuned.

    Hu et al., LoRA, https://arxiv.org/abs/2106.09685. B is 0 at first, so that nothing changes before the first step.
    """

    def __init__(self, a: Tensor, b: Tensor, scaling: float, frozen: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = frozen.in_features, frozen.out_features
        self.lora_A, self.lora_B = nn.Parameter(a, requires_grad=False), nn.Parameter(b, requires_grad=False)
        self.scaling, self.bias = scaling, frozen.bias
        self._frozen = [frozen]  # in a list: a module's parameters are its own

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight of the linear layer that computes the same, in the frozen weight's dtype."""
        frozen = self._frozen[0].weight
        return (frozen.float() + self.change).to(frozen.dtype)

    @property
    def change(self) -> Tensor:
        """What it adds to the frozen weight, float32 [out, in]."""
        return self.lora_B.float() @ self.lora_A.float() * self.scaling

    def forward(self, states: Tensor) -> Tensor:
        a, b = self.lora_A.to(states.dtype), self.lora_B.to(states.dtype)
        changed: Tensor = self._frozen[0](states) + self.scaling * F.linear(F.linear(states, a), b)
        return changed


TunedModule = Projection | Norm | LoRAProjection


def tuned(weight: Tensor, frozen: nn.Linear | LlamaRMSNorm) -> Projection | Norm:
    """The module with ``weight`` that replaces ``frozen``."""
    return Projection(weight, frozen) if isinstance(frozen, nn.Linear) else Norm(weight, frozen)


def new_lora(frozen: nn.Linear, rank: int, dtype: torch.dtype, generator: torch.Generator) -> LoRAProjection:
    """LoRA of ``rank`` that changes nothing yet. A is drawn as in PEFT, by ``generator``, which is on the CPU."""
    bound = 1 / math.sqrt(frozen.in_features)  # kaiming_uniform_ with a = sqrt(5)
    a = torch.empty(rank, frozen.in_features).uniform_(-bound, bound, generator=generator)
    b = torch.zeros(frozen.out_features, rank)
    device = frozen.weight.device
    return LoRAProjection(a.to(device, dtype), b.to(device, dtype), SCALING, frozen)
