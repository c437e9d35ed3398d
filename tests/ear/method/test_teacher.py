"""What the frozen model says is computed once for the dataset's images, and changes no weight by being kept."""

from dataclasses import replace

import pytest
import torch

from ear.method import teacher
from ear.method.adapter import Adapter
from ear.method.recipe import Recipe
from ear.method.recipes import PAPER, WINDOWED_KL
from ear.method.train import training_loop
from ecgvf.janus import JanusModel, Sampling
from tests.ear.method.small_training import pair, resolved, same

KL = replace(WINDOWED_KL, passes=3, retention=0.0, learning_rate=1e-3)
RECIPES = {
    "kl, both images": KL,
    "kl, guided, bf16": replace(KL, guidance=0.5, mixed_precision="bf16"),
    "kl, rollouts, bf16": replace(KL, trajectory="rollout", rollouts=3, rollout_epochs=2, mixed_precision="bf16"),
    "mse, guided": replace(PAPER, passes=3, order="shuffled", threshold=0.0, learning_rate=1e-3),
}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images of each call of the frozen model."""
    calls: list[int] = []
    real = teacher.teacher_states

    def counted(*args: object, **settings: object) -> torch.Tensor:
        calls.append(len(args[1]))  # type: ignore[arg-type]
        return real(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(teacher, "teacher_states", counted)
    return calls


def trained(model: JanusModel, recipe: Recipe) -> Adapter:
    pairs = [pair(number) for number in range(2)]
    return training_loop(model, pairs, resolved(recipe), 0, sampling=Sampling(guidance=2.0))[0]


@pytest.mark.parametrize("name", RECIPES)
def test_kept_states_end_in_the_same_weights(
    name: str, tiny: JanusModel, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES[name]
    images = 2 * {"both": 2, "rollout": recipe.passes}.get(recipe.trajectory, 1)
    uses = recipe.rollout_epochs if recipe.trajectory == "rollout" else recipe.passes
    kept = trained(tiny, recipe)
    assert len(computed) == images
    monkeypatch.setattr(teacher, "MOST_BYTES", 0)
    again = trained(tiny, recipe)
    assert len(computed) == images + uses * images
    assert same(kept, again)


def test_no_more_is_kept_than_there_is_room_for(
    tiny: JanusModel, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "MOST_BYTES", 1)  # which the first image exceeds
    trained(tiny, replace(KL, trajectory="surrogate"))
    assert len(computed) == 1 + 3 * 1


@pytest.mark.parametrize("epochs", [1, 2])
def test_rollouts_are_kept_for_the_epochs_of_their_round(
    epochs: int, tiny: JanusModel, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    forget = teacher.Teacher.forget
    monkeypatch.setattr(teacher.Teacher, "forget", lambda self: (kept.append(len(self._kept)), forget(self)))
    trained(tiny, replace(KL, trajectory="rollout", rollouts=2, images_per_step=2, rollout_epochs=epochs))
    assert computed == [2, 2, 2]
    assert kept == [epochs - 1] * 3
