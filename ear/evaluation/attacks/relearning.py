"""Relearning: fine-tuning on a few images of the concept.

The attacker has the weights and a few images. A concept that is only hidden comes back in fewer steps than a model
trained without it needs to learn it.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch

from ear.evaluation.attacks.attack import Example, GradientAttack
from ear.method.adapter import new_adapter
from ecgvf.janus import JanusModel

RANK, BATCH = 16, 4
LEARNING_RATE = 1e-3


class Relearning(GradientAttack):
    """LoRA of ``RANK`` on every projection of the tuned model, with Adam."""

    kind = "relearning"
    unit = "gradient steps"
    default_budget = 16
    examples_used = 8
    batch_size = BATCH
    shards = 2  # the state is three times its weights
    settings: ClassVar[dict[str, Any]] = {"rank": RANK, "batch": BATCH, "learning_rate": LEARNING_RATE}

    def __init__(self, model: JanusModel, examples: Sequence[Example], seed: int) -> None:
        super().__init__(model, examples, seed)
        # Made inside the adapter's context, so that it changes the adapter's projections where there are some.
        self._adapter = new_adapter(model, range(model.depth), "all", rank=RANK, seed=seed % 2**32)
        self.weights = self._adapter.weights
        self.optimizer = torch.optim.Adam(self.weights, lr=LEARNING_RATE)

    def state(self) -> dict[str, Any]:
        weights = {name: weight.detach() for name, weight in self._adapter.parameters.items()}
        return {"weights": weights, "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, weight in self._adapter.parameters.items():
                weight.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])

    def active(self, model: JanusModel) -> AbstractContextManager[JanusModel]:
        return self._adapter.active(model)
