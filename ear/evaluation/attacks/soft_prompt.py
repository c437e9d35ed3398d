"""Soft prompt: vectors after the words of every prompt, tuned until images of the concept are likely.

The attacker needs the weights, and changes none of them. Textual inversion against erased models: Pham et al.,
Circumventing Concept Erasure Methods For Text-to-Image Generative Models, https://arxiv.org/abs/2308.01508.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch

from ear.evaluation.attacks.attack import Example, GradientAttack
from ecgvf.core import seeds
from ecgvf.janus import JanusModel, soft_prompt

VECTORS, BATCH = 8, 4
LEARNING_RATE = 0.1
"""Learning rate of Adam, in standard deviations of the token embeddings."""


class SoftPrompt(GradientAttack):
    """``VECTORS`` vectors, the same for every prompt; they start as the embeddings of random tokens."""

    kind = "soft-prompt"
    unit = "gradient steps"
    default_budget = 100
    examples_used = 32
    batch_size = BATCH
    settings: ClassVar[dict[str, Any]] = {"vectors": VECTORS, "batch": BATCH, "learning_rate": LEARNING_RATE}

    def __init__(self, model: JanusModel, examples: Sequence[Example], seed: int) -> None:
        super().__init__(model, examples, seed)
        table = model.language_model.embed_tokens
        generator = torch.Generator().manual_seed(seeds.derive(seed, "start", self.kind))
        tokens = torch.randint(table.num_embeddings, (VECTORS,), generator=generator).to(model.device)
        self._vectors = table(tokens).detach().float().clone().requires_grad_(True)
        self.weights = [self._vectors]
        self.optimizer = torch.optim.Adam(self.weights, lr=LEARNING_RATE * model.embedding_scale)

    def state(self) -> dict[str, Any]:
        return {"vectors": self._vectors.detach(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self._vectors.copy_(state["vectors"])
        self.optimizer.load_state_dict(state["optimizer"])

    def active(self, model: JanusModel) -> AbstractContextManager[JanusModel]:
        return soft_prompt(model, self._vectors)
