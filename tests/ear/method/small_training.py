"""What a training takes, for the tiny model: pairs with random images, and a recipe that is resolved for it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ear.method.adapter import Adapter
from ear.method.objective import guided_outputs, teacher_states
from ear.method.pairs import TrainingPair
from ear.method.recipe import Loss, Recipe, ResolvedRecipe
from ecgvf.janus import JanusModel


def pair(number: int) -> TrainingPair:
    """Two prompts with random images of the tiny model: 16 ids in [0, 32) each."""
    ids = torch.randint(0, 32, (2, 16), generator=torch.Generator().manual_seed(number))
    return TrainingPair(str(number), f"a church by lake {number}", f"a hotel by lake {number}", ids[0], ids[1])


def resolved(recipe: Recipe, window: int = 8) -> ResolvedRecipe:
    return ResolvedRecipe(recipe=recipe, window=window, layers=2, tokens=16, depth=3, guidance=recipe.guidance)


def guided(
    model: JanusModel, targets: Sequence[str], surrogates: Sequence[str], vq_ids: Tensor, *, loss: Loss, guidance: float
) -> Tensor:
    """What the tuned model has to match, as a training computes it."""
    states = teacher_states(model, targets, surrogates, vq_ids, guidance=guidance)
    return guided_outputs(model, states, loss=loss, guidance=guidance)


def same(first: Adapter, second: Adapter) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.weights, second.weights, strict=True))
