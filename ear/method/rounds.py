"""The rounds of a training: which pairs are trained on together, and in which order."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ear.method.objective import windows
from ear.method.pairs import TrainingPair
from ear.method.recipe import ResolvedRecipe
from ecgvf.core import seeds


@dataclass(frozen=True, slots=True)
class Round:
    """Pairs that are trained on together."""

    pairs: tuple[TrainingPair, ...]
    vq_ids: Tensor | None
    """Their trajectories, int64 [R, T]; None: the tuned model renders them in the round."""
    trajectory: int = 0
    """Which of the pair's images of the dataset this is: 0, or 1 for the second of "both"."""


def training_rounds(pairs: Sequence[TrainingPair], resolved: ResolvedRecipe, seed: int) -> list[Round]:
    """The rounds in training order, all passes. Pairs left over at the end of the last pass are a smaller round."""
    recipe = resolved.recipe
    order: list[TrainingPair] = []
    for number in range(recipe.passes):
        shuffled = list(pairs)
        if recipe.order == "shuffled":
            random.Random(seeds.derive(seed, str(number), "order")).shuffle(shuffled)
        order += shuffled
    if not recipe.along_images:
        size = recipe.rollouts or 1
        return [Round(tuple(order[start : start + size]), None) for start in range(0, len(order), size)]
    return [
        Round((pair,), vq_ids[None], number)
        for pair in order
        for number, vq_ids in enumerate(pair.trajectories(recipe.trajectory))
    ]


def count_images(pairs: int, resolved: ResolvedRecipe) -> int:
    """Number of trajectories in a training on ``pairs`` pairs, at most."""
    return pairs * resolved.recipe.passes * _trajectories(resolved)


def windows_per_image(resolved: ResolvedRecipe) -> int:
    """Number of windows that are trained on each time a trajectory is used."""
    recipe = resolved.recipe
    return len(list(windows(resolved.tokens, resolved.window, recipe.tail))) if recipe.windows == "all" else 1


def windows_per_pair(resolved: ResolvedRecipe) -> int:
    """Number of windows of a pair in a pass over the pairs, whether they take a step or not."""
    return windows_per_image(resolved) * resolved.recipe.rollout_epochs * _trajectories(resolved)


def count_windows(pairs: int, resolved: ResolvedRecipe) -> int:
    """Number of windows in a training that no ``max_steps`` ends, whether they take a step or not."""
    recipe = resolved.recipe
    rounds, rest = divmod(count_images(pairs, resolved), recipe.rollouts or 1)
    batches = rounds * math.ceil((recipe.rollouts or 1) / recipe.images_per_step)
    batches += math.ceil(rest / recipe.images_per_step)
    return windows_per_image(resolved) * recipe.rollout_epochs * batches


def most_steps(pairs: int, resolved: ResolvedRecipe) -> int:
    """Number of steps in a training, at most: one per window, or the recipe's ``max_steps`` if these are fewer."""
    total, limit = count_windows(pairs, resolved), resolved.recipe.max_steps
    return total if limit is None else min(total, limit)


def _trajectories(resolved: ResolvedRecipe) -> int:
    """Trajectories of each pair in a pass."""
    return 2 if resolved.recipe.trajectory == "both" else 1
