"""What every attack has in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ecgvf.core import seeds
from ecgvf.janus import GenerationOptions, JanusModel, hidden_states, logits

Kind = Literal["token-search", "soft-prompt", "prefix", "relearning"]


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt, and an image of it that shows the concept."""

    prompt: str
    vq_ids: Tensor
    """int64 [T]."""


class Attack:
    """One attack on ``model``, with what it has found so far.

    ``examples`` are what the attacker has; ``seed`` decides everything random. Inside the context of the adapter, the
    model is the tuned one, and an attack is made, stepped and active there alone.
    """

    kind: ClassVar[Kind]
    unit: ClassVar[str]
    """What the budget counts, in the plural."""
    default_budget: ClassVar[int]
    """Of the full figures."""
    examples_used: ClassVar[int]
    """How many examples it takes."""
    settings: ClassVar[dict[str, Any]]
    """Its constants: all that decides what it finds, beside model, examples, budget and seed."""

    def __init__(self, model: JanusModel, examples: Sequence[Example], seed: int) -> None:
        self.model, self.examples, self.seed = model, examples, seed

    def check(self, budget: int) -> None:
        """Raise ``SettingsError`` for a ``budget`` that is too large."""

    @contextmanager
    def active(self, model: JanusModel) -> Iterator[JanusModel]:
        """Context with ``model`` under attack."""
        yield model

    def options(self, seeds: Sequence[int], budget: int) -> GenerationOptions:
        """What the attacker forces on images of these seeds."""
        return GenerationOptions()

    def found(self) -> str | None:
        """What was found, for people."""
        return None

    def batch(self, number: int, size: int) -> list[Example]:
        """``size`` different examples of step ``number``."""
        generator = torch.Generator().manual_seed(seeds.derive(self.seed, str(number), self.kind))
        return [self.examples[index] for index in torch.randperm(len(self.examples), generator=generator)[:size]]


class OptimisedAttack(Attack, ABC):
    """An attack that spends its budget step by step."""

    @abstractmethod
    def step(self, number: int) -> float:
        """Take step ``number``, from 0; returns its loss in nats per image token."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What ``restore`` takes, as torch saves it."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what ``state`` returned."""


def image_loss(model: JanusModel, prompts: Sequence[str], examples: Sequence[Example]) -> Tensor:
    """Mean nats per token of the examples' images given ``prompts``, a scalar; no guidance."""
    vq_ids = torch.stack([example.vq_ids for example in examples]).to(model.device)
    scores = logits(model, hidden_states(model, prompts, vq_ids)).float()
    return torch.nn.functional.cross_entropy(scores.flatten(0, 1), vq_ids.flatten())
