"""What a training takes, for the tiny model: pairs with random images, and a recipe that is resolved for it."""

import torch

from ear.method.adapter import Adapter
from ear.method.pairs import TrainingPair
from ear.method.recipe import Recipe, ResolvedRecipe


def pair(number: int) -> TrainingPair:
    """Two prompts with random images of the tiny model: 16 ids in [0, 32) each."""
    ids = torch.randint(0, 32, (2, 16), generator=torch.Generator().manual_seed(number))
    return TrainingPair(str(number), f"a church by lake {number}", f"a hotel by lake {number}", ids[0], ids[1])


def resolved(recipe: Recipe, window: int = 8) -> ResolvedRecipe:
    return ResolvedRecipe(recipe=recipe, window=window, layers=2, tokens=16, depth=3, guidance=recipe.guidance)


def same(first: Adapter, second: Adapter) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.weights, second.weights, strict=True))
