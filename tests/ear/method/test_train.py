"""The loop: which windows take a step, with which weights, and what is left behind."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ear.method import train as loop
from ear.method.adapter import Adapter, fresh
from ear.method.objective import aim, position_losses
from ear.method.pairs import TrainingPair
from ear.method.recipe import PAPER, Recipe, Resolved
from ear.method.retention import Rehearsal
from ear.method.runs import Run
from ear.method.train import schedule, train, visits
from ecgvf.core.errors import AdapterError, RecipeError
from ecgvf.janus import JanusModel, hidden_states

RECIPE = replace(PAPER, threshold=0.0, learning_rate=1e-3)


def pair(number: int) -> TrainingPair:
    ids = torch.randint(0, 32, (2, 16), generator=torch.Generator().manual_seed(number))
    return TrainingPair(str(number), f"a church by lake {number}", f"a hotel by lake {number}", ids[0], ids[1])


def resolved(recipe: Recipe, window: int = 8) -> Resolved:
    return Resolved(recipe=recipe, window=window, layers=2, tokens=16, depth=3)


def state(adapter: Adapter) -> dict[str, Tensor]:
    return {name: projection.weight.detach().clone() for name, projection in adapter.projections.items()}


def same(one: Adapter, other: Adapter) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.weights, other.weights, strict=True))


@pytest.fixture
def rehearsal(tiny: JanusModel) -> Rehearsal:
    prompts = ("a cat on grass", "a boat at night", "a tree")
    ids = torch.randint(0, 32, (3, 16), generator=torch.Generator().manual_seed(9))
    return Rehearsal(prompts, ids, hidden_states(tiny, prompts, ids).detach())


def test_each_window_steps_with_the_weights_that_the_window_before_left(tiny: JanusModel) -> None:
    one = pair(1)
    tuned, log = train(tiny, [one], resolved(RECIPE), 0)
    # By hand: a plain loop over two windows, the whole trajectory forward each time.
    by_hand = fresh(tiny, 2, RECIPE.projections)
    adam = torch.optim.Adam(by_hand.weights, lr=1e-3)
    aimed = aim(tiny, one.target, one.surrogate, one.surrogate_ids, loss="mse", guidance=1.0)
    losses = []
    for window in (slice(0, 8), slice(8, 16)):
        with by_hand.active(tiny):
            states = hidden_states(tiny, [one.target], one.surrogate_ids[None])[0]
            loss = position_losses(tiny, states[window], aimed[window], "mse").sum()
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
        losses.append(loss.item())
    assert log.loss == pytest.approx(losses, rel=1e-4)
    for name, weight in state(by_hand).items():
        torch.testing.assert_close(tuned.projections[name].weight, weight, rtol=1e-4, atol=1e-5)


def test_the_loss_falls(tiny: JanusModel) -> None:
    _, log = train(tiny, [pair(1)], resolved(replace(RECIPE, passes=8)), 0)
    assert sum(log.loss[-2:]) < 0.7 * sum(log.loss[:2])


def test_the_model_is_left_bit_for_bit_as_it_was(tiny: JanusModel) -> None:
    before = {name: weight.clone() for name, weight in tiny.model.state_dict().items()}
    train(tiny, [pair(1)], resolved(RECIPE), 0)
    after = tiny.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(weight.requires_grad for weight in tiny.model.parameters())


def test_a_window_at_or_below_the_threshold_takes_no_step(tiny: JanusModel) -> None:
    _, log = train(tiny, [pair(1), pair(2)], resolved(RECIPE), 0)
    assert log.stepped == [True] * 4
    tuned, quiet = train(tiny, [pair(1), pair(2)], resolved(replace(RECIPE, threshold=1e9)), 0)
    assert (quiet.stepped, quiet.steps) == ([False] * 4, 0)
    assert same(tuned, fresh(tiny, 2, RECIPE.projections))
    # Between the losses of two windows: the smaller one is masked.
    first = sorted(quiet.loss[:2])
    _, masked = train(tiny, [pair(1)], resolved(replace(RECIPE, threshold=sum(first) / 2)), 0)
    assert masked.stepped[quiet.loss.index(first[0])] is False or masked.loss[1] != quiet.loss[1]
    assert masked.steps <= 1 or masked.loss[1] > sum(first) / 2


def test_positions_left_over_are_a_window_or_dropped(tiny: JanusModel) -> None:
    assert visits([pair(1)], resolved(RECIPE, window=5)) == 4
    _, log = train(tiny, [pair(1)], resolved(replace(RECIPE, tail="drop"), window=5), 0)
    assert log.window == [0, 1, 2]


def test_both_trajectories_and_every_pass_are_visited(tiny: JanusModel) -> None:
    plan = resolved(replace(RECIPE, trajectory="both", passes=2, order="shuffled"))
    order = schedule([pair(1), pair(2), pair(3)], plan, seed=0)
    assert len(order) == 12
    assert sorted(one.record_id for one, _ in order[:6]) == ["1", "1", "2", "2", "3", "3"]
    assert [one.record_id for one, _ in order] == [
        one.record_id for one, _ in schedule([pair(1), pair(2), pair(3)], plan, 0)
    ]
    assert any(
        [one.record_id for one, _ in schedule([pair(1), pair(2), pair(3)], plan, seed)]
        != [one.record_id for one, _ in order]
        for seed in range(1, 5)
    )


def test_rehearsing_keeps_the_rest_closer(tiny: JanusModel, rehearsal: Rehearsal) -> None:
    free = resolved(replace(RECIPE, passes=6))
    kept = resolved(replace(RECIPE, passes=6, retention=3.0, rehearsed=3, rehearsed_per_step=2))
    losses = []
    for plan in (free, kept):
        adapter, _ = train(tiny, [pair(1)], plan, 0, rehearsal=rehearsal)
        with adapter.active(tiny), torch.no_grad():
            losses.append(rehearsal.loss(tiny, [0, 1, 2]).item())
    assert losses[1] < 0.8 * losses[0]
    assert rehearsal.loss(tiny, [0, 1, 2]).item() < 1e-5


def test_what_is_rehearsed_depends_on_seed_and_step_alone(rehearsal: Rehearsal) -> None:
    assert rehearsal.batch(1, 2, 2) == rehearsal.batch(1, 2, 2)
    assert len(set(rehearsal.batch(1, 2, 3))) == 3


def test_an_interrupted_run_ends_with_the_same_weights(
    tiny: JanusModel, rehearsal: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    plan = resolved(replace(RECIPE, order="shuffled", retention=1.0, rehearsed=3, rehearsed_per_step=2))
    pairs = [pair(1), pair(2), pair(3)]
    whole, log = train(tiny, pairs, plan, 0, rehearsal=rehearsal)
    run, left = Run(tmp_path / "run"), iter(range(5))

    def interrupt(_: int) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny, pairs, plan, 0, rehearsal=rehearsal, run=run, visited=interrupt)
    done: list[int] = []
    resumed, again = train(tiny, pairs, plan, 0, rehearsal=rehearsal, run=run, visited=done.append)
    assert done == [4, 1, 1]
    assert same(whole, resumed)
    assert again == log


def test_a_damaged_checkpoint_is_named(tiny: JanusModel, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"torn")
    with pytest.raises(AdapterError, match=r"checkpoint\.pt is damaged: delete it"):
        train(tiny, [pair(1)], resolved(RECIPE), 0, run=Run(tmp_path))


def test_a_loss_that_is_no_number_stops_with_advice(tiny: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "position_losses", lambda *_: torch.full((8,), torch.nan, requires_grad=True))
    with pytest.raises(RecipeError, match="smaller learning rate"):
        train(tiny, [pair(1)], resolved(RECIPE), 0)
