"""Prefix: the first rows of an image of the concept are given, and the model continues.

The image belongs to another prompt. A model trained without the concept can continue it as well, so what counts is how
much more often the tuned model does.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ear.evaluation.attacks.attack import Attack
from ecgvf.core.errors import SettingsError
from ecgvf.janus import JanusModel


class Prefix(Attack):
    """Nothing is optimised: the budget is the number of rows."""

    kind = "prefix"
    unit = "rows"
    default_budget = 8
    examples_used = 32
    settings: ClassVar[dict[str, Any]] = {}

    @classmethod
    def check(cls, model: JanusModel, budget: int) -> None:
        rows = math.isqrt(model.image_tokens)
        if budget >= rows:
            raise SettingsError(f"--budget {budget}: it must be below {rows}, the rows of an image")

    def prefix(self, seeds: Sequence[int], budget: int) -> Tensor:
        tokens = budget * math.isqrt(self.model.image_tokens)
        forced = [self.examples[seed % len(self.examples)].vq_ids[:tokens] for seed in seeds]
        return torch.stack(forced)
