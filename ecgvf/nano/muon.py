"""Muon for matrices and convolution kernels; AdamW for the rest.

Each weight's momentum is replaced by the nearest orthogonal matrix, found by a quintic Newton-Schulz iteration
(https://kellerjordan.github.io/posts/muon/). `torch.optim.Muon` takes matrices only; the codec needs kernels.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ecgvf.nano.precision import matrix_dtype


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Approximately U Vᵀ of `matrix` = U S Vᵀ, ``[R, C]``; singular values end between about 0.7 and 1.2."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(matrix_dtype())
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    orthogonal: Tensor = (x.T if tall else x).to(matrix.dtype)
    return orthogonal


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; the step is scaled by sqrt(max(1, rows / columns)). Decay is decoupled."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(momentum, group["momentum"]).flatten(1)
                parameter.mul_(1 - group["lr"] * group["decay"])
                scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                parameter.add_(orthogonalise(update).view_as(parameter), alpha=-group["lr"] * scale)


class MuonAndAdam:
    """Muon for the parameters that `matrix` picks by name and tensor, with `decay`; AdamW without it for the rest."""

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        matrix: Callable[[str, nn.Parameter], bool],
        *,
        muon_rate: float,
        adam_rate: float,
        decay: float = 0.0,
    ) -> None:
        chosen: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in named:
            (chosen if matrix(name, parameter) else rest).append(parameter)
        self.muon = Muon(chosen, lr=muon_rate, decay=decay)
        self.adam = torch.optim.AdamW(rest, lr=adam_rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.parts = {"muon": self.muon, "adam": self.adam}
        self._rates = {"muon": muon_rate, "adam": adam_rate}

    def step(self, loss: Tensor, share: float) -> None:
        """One step down `loss` at `share` of the full rates."""
        for name, optimizer in self.parts.items():
            optimizer.param_groups[0]["lr"] = share * self._rates[name]
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for o in self.parts.values() for p in o.param_groups[0]["params"]], 1.0)
        for optimizer in self.parts.values():
            optimizer.step()
