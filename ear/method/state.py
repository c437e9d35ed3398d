"""Everything that changes while training."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from ear.method.adapter import Adapter, new_adapter
from ear.method.log import TrainingLog
from ear.method.parallel import ProcessGroup
from ear.method.precision import computes_in_bfloat16
from ear.method.recipe import Recipe, ResolvedRecipe
from ecgvf.core import console
from ecgvf.core.errors import AdapterError, RecipeError
from ecgvf.janus import JanusModel

RELEASED_SEED = 42
"""What the released loop seeds its generator with."""

_KEYS = {"weights", "optimizer", "generator", "device", "bfloat16", "log", "rounds", "processes"}
"""What ``TrainingState.restore`` reads of a checkpoint."""


@dataclass(slots=True)
class TrainingState:
    """The tuned weights, their optimizer, and how far training is."""

    adapter: Adapter
    optimizer: torch.optim.Adam
    generator: torch.Generator
    """Samples the streams of the released loop; other recipes derive a seed for each purpose."""
    bfloat16: bool
    """Whether forward and backward passes are autocast to bfloat16."""
    group: ProcessGroup
    """The processes that take each step together."""
    log: TrainingLog = field(default_factory=TrainingLog)
    rounds: int = 0
    """Finished rounds."""

    @classmethod
    def start(
        cls, model: JanusModel, resolved: ResolvedRecipe, seed: int, group: ProcessGroup = ProcessGroup()
    ) -> Self:
        """The state before the first round. Raises ``RecipeError`` for a model whose layers have other names."""
        recipe = resolved.recipe
        dtype = torch.float32 if recipe.weight_dtype == "float32" else model.dtype
        rank = recipe.rank if recipe.adapter == "lora" else None
        adapter = new_adapter(model, resolved.layer_range, recipe.modules, dtype, rank=rank, seed=seed)
        optimizer = torch.optim.Adam(adapter.weights, lr=recipe.learning_rate)
        generator = torch.Generator(model.device).manual_seed(RELEASED_SEED)
        return cls(adapter, optimizer, generator, computes_in_bfloat16(recipe, model.device, model.dtype), group)

    def step(self, loss: torch.Tensor, learning_rate: float, value: float) -> None:
        """Take a step of Adam on this process's share of the loss.

        Raises ``RecipeError`` unless ``value``, of the loss of all processes, is finite.
        """
        if not math.isfinite(value):
            raise self.divergence_error("the loss", learning_rate)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.group.sum_(weight.grad for weight in self.adapter.weights if weight.grad is not None)
        self.optimizer.step()

    def finished(self, recipe: Recipe) -> bool:
        """Whether the recipe's last step is taken."""
        return recipe.max_steps is not None and self.log.steps >= recipe.max_steps

    def divergence_error(self, what: str, learning_rate: float) -> RecipeError:
        """The error to raise if ``what`` is not finite."""
        return RecipeError(
            f"{what} is not finite after {console.counted(self.log.steps, 'step')}: train with a smaller learning rate "
            f"(it is {learning_rate:g})"
        )

    def checkpoint(self) -> dict[str, Any]:
        """The state between two rounds, as torch saves it; ``restore`` takes it."""
        return {
            "weights": {name: weight.detach() for name, weight in self.adapter.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "device": self.generator.device.type,
            "bfloat16": self.bfloat16,
            "log": self.log.json(),
            "rounds": self.rounds,
            "threads": torch.get_num_threads(),
            "processes": self.group.count,
        }

    @torch.no_grad()
    def restore(self, checkpoint: dict[str, Any], file: Path) -> None:
        """Resume from what ``checkpoint`` returned, read from ``file``.

        Raises ``AdapterError``, which names ``file``, for a checkpoint of another version, of another kind of device,
        whose generator draws other numbers, of another precision, or of another number of processes, which sum in
        another order.
        """
        if not checkpoint.keys() >= _KEYS:
            raise AdapterError(f"{file} is of another version: delete it, and the run starts anew")
        begun = checkpoint["device"]
        if begun != self.generator.device.type:
            raise AdapterError(f"this training was begun on {begun}: resume with --device {begun}, or delete {file}")
        if checkpoint["bfloat16"] != self.bfloat16:
            raise AdapterError(
                f"this training was begun in another precision ({_precision(checkpoint['bfloat16'])}, not "
                f"{_precision(self.bfloat16)}): resume on the same kind of CPU or GPU, or delete {file}"
            )
        begun, count = checkpoint["processes"], self.group.count
        if begun != count:
            raise AdapterError(
                f"this training was begun with {begun} process(es) and not {count}: resume with as many, "
                f"or delete {file}"
            )
        for name, weight in self.adapter.parameters.items():
            weight.copy_(checkpoint["weights"][name])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.generator.set_state(checkpoint["generator"])
        self.log, self.rounds = TrainingLog.from_json(checkpoint["log"]), int(checkpoint["rounds"])


def _precision(bfloat16: bool) -> str:
    return "bfloat16 autocast" if bfloat16 else "the model's dtype"
