"""Muon for matrices and convolution kernels; AdamW for the rest.

Each weight's momentum is replaced by the nearest orthogonal matrix, found by a quintic Newton-Schulz iteration
(https://kellerjordan.github.io/posts/muon/). `torch.optim.Muon` takes matrices only; the codec needs kernels.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tools.nano.precision import matrix_dtype


def orthogonalise(matrix: Tensor) -> Tensor:
    """Approximately U Vᵀ of `matrix` = U S Vᵀ, ``[R, C]``; singular values end between about 0.7 and 1.2."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(matrix_dtype())
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    orthogonal: Tensor = (x.T if tall else x).to(matrix.dtype)
    return orthogonal


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum, scaled by sqrt(max(1, rows / columns)), with decoupled weight decay."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        decay: float = 0.0,
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


class MuonAndAdamW:
    """Muon, with weight decay, for the parameters that `use_muon` selects; AdamW, without it, for the rest.

    Parameters whose name `slow` selects learn at a tenth of both rates.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        use_muon: Callable[[str, nn.Parameter], bool],
        *,
        muon_lr: float,
        adamw_lr: float,
        decay: float = 0.0,
        slow: Callable[[str], bool] = lambda name: False,
    ) -> None:
        muon: list[list[nn.Parameter]] = [[], []]
        adamw: list[list[nn.Parameter]] = [[], []]
        for name, parameter in named_parameters:
            (muon if use_muon(name, parameter) else adamw)[slow(name)].append(parameter)
        self.muon = Muon(_groups(muon, muon_lr), lr=muon_lr, decay=decay)
        self.adamw = torch.optim.AdamW(_groups(adamw, adamw_lr), betas=(0.9, 0.98), weight_decay=0.0)
        self.parts = {"muon": self.muon, "adam": self.adamw}
        """Both optimizers, under their names in a checkpoint."""

    def step(self, loss: Tensor, lr_factor: float) -> None:
        """Minimise `loss` by one step at `lr_factor`, in [0, 1], of the full learning rates."""
        groups = [group for optimizer in self.parts.values() for group in optimizer.param_groups]
        for group in groups:
            group["lr"] = lr_factor * group["full"]
        for optimizer in self.parts.values():
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([parameter for group in groups for parameter in group["params"]], 1.0)
        for optimizer in self.parts.values():
            optimizer.step()


def _groups(parameters: list[list[nn.Parameter]], lr: float) -> list[dict[str, Any]]:
    """Optimizer groups of ``[full-rate, slow]`` parameters, each with its full learning rate."""
    return [
        {"params": group, "lr": full, "full": full}
        for group, full in zip(parameters, (lr, lr / 10), strict=True)
        if group
    ]
