"""The interface of an attack, and what attacks share.

To add an attack, write a file with a subclass of ``Attack``, ``OptimisedAttack`` or ``GradientAttack``, and name it in
``Kind`` below, in ``KINDS`` (kinds.py), in ``--kind`` (ear/commands/attack.py), and in docs/attacks.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ecgvf.core import seeds
from ecgvf.janus import JanusModel, hidden_states, logits

Kind = Literal["token-search", "soft-prompt", "prefix", "relearning"]


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt, and an image of it that shows the concept."""

    prompt: str
    vq_ids: Tensor
    """int64 [T]."""


class Attack:
    """An attack on ``model``, with what it has found so far.

    ``examples`` are what the attacker has, and ``seed`` decides everything random. ``model`` is the tuned model: an
    attack is made, stepped and active only inside the context of the adapter.
    """

    kind: ClassVar[Kind]
    unit: ClassVar[str]
    """What the budget counts, in the plural, for messages."""
    default_budget: ClassVar[int]
    """The budget of the full figures."""
    examples_used: ClassVar[int]
    """Number of examples that it takes, at most."""
    settings: ClassVar[dict[str, Any]]
    """Its constants, as JSON. They are part of the fingerprint, with model, adapter, examples, budget and seed."""

    def __init__(self, model: JanusModel, examples: Sequence[Example], seed: int) -> None:
        self.model, self.examples, self.seed = model, examples, seed

    @classmethod
    def check(cls, model: JanusModel, budget: int) -> None:
        """Raise ``SettingsError`` for a ``budget`` that is too large for ``model``."""

    def active(self, model: JanusModel) -> AbstractContextManager[JanusModel]:
        """Context with ``model`` under attack."""
        return nullcontext(model)

    def prefix(self, seeds: Sequence[int], budget: int) -> Tensor | None:
        """The first tokens that the attacker forces on the images with these ``seeds``, int64 [N, n]; None for none."""
        return None

    def found(self) -> str | None:
        """What was found, for people; None if it cannot be shown."""
        return None

    def batch(self, number: int, size: int) -> list[Example]:
        """``size`` distinct examples for step ``number``."""
        generator = torch.Generator().manual_seed(seeds.derive(self.seed, str(number), self.kind))
        return [self.examples[index] for index in torch.randperm(len(self.examples), generator=generator)[:size]]


class OptimisedAttack(Attack, ABC):
    """An attack that spends its budget step by step."""

    shards: ClassVar[int] = 8
    """Most shards that keep its steps: each has the whole state."""

    @abstractmethod
    def step(self, number: int) -> float:
        """Take step ``number``, from 0; returns its loss in nats per image token."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What ``restore`` takes, as torch saves it."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what ``state`` returned, on the CPU."""


class GradientAttack(OptimisedAttack):
    """An attack that tunes ``weights`` with Adam, until the examples' images are likely."""

    batch_size: ClassVar[int]
    """Examples in a step."""
    weights: Sequence[Tensor]
    optimizer: torch.optim.Adam

    def step(self, number: int) -> float:
        batch = self.batch(number, self.batch_size)
        with self.active(self.model) as model:
            loss = image_loss(model, [example.prompt for example in batch], batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=self.weights)
        self.optimizer.step()
        return loss.item()


def image_loss(model: JanusModel, prompts: Sequence[str], examples: Sequence[Example]) -> Tensor:
    """Mean nats per image token of the examples' images given ``prompts``, without guidance: a scalar."""
    vq_ids = torch.stack([example.vq_ids for example in examples]).to(model.device)
    scores = logits(model, hidden_states(model, prompts, vq_ids)).float()
    return torch.nn.functional.cross_entropy(scores.flatten(0, 1), vq_ids.flatten())
