"""The training loop: which windows take a step, with which weights, and what an interrupted run leaves."""

import errno
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ear.method import steps
from ear.method import train as loop
from ear.method.adapter import Adapter, new_adapter
from ear.method.objective import position_losses
from ear.method.recipes import PAPER
from ear.method.retention import RehearsalSet
from ear.method.rounds import count_windows, most_steps, training_rounds
from ear.method.runs import TrainingRun
from ear.method.state import TrainingState
from ear.method.train import training_loop
from ecgvf.core.errors import AdapterError, DiskFull, RecipeError
from ecgvf.janus import JanusModel, Sampling, hidden_states
from ecgvf.janus.decoding import ImageTokens
from tests.ear.method.small_training import guided, pair, resolved, same

RECIPE = replace(PAPER, threshold=0.0, learning_rate=1e-3)


def state(adapter: Adapter) -> dict[str, Tensor]:
    return {name: module.weight.detach().clone() for name, module in adapter.modules.items()}


@pytest.fixture
def rehearsal(tiny: JanusModel) -> RehearsalSet:
    prompts = ("a cat on grass", "a boat at night", "a tree")
    ids = torch.randint(0, 32, (3, 16), generator=torch.Generator().manual_seed(9))
    return RehearsalSet(prompts, ids, hidden_states(tiny, prompts, ids).detach())


@pytest.mark.parametrize("retention", [0.0, 1.0])
def test_each_window_steps_with_the_weights_that_the_window_before_left(
    tiny: JanusModel, rehearsal: RehearsalSet, retention: float
) -> None:
    church = pair(1)
    recipe = replace(RECIPE, retention=retention, rehearsed=3, rehearsed_per_step=3)
    tuned, log = training_loop(tiny, [church], resolved(recipe), 0, rehearsal=rehearsal)
    # By hand: a plain loop over two windows, the whole trajectory forward each time.
    by_hand = new_adapter(tiny, range(2), RECIPE.modules)
    adam = torch.optim.Adam(by_hand.weights, lr=1e-3)
    ids = church.surrogate_ids[None]
    towards = guided(tiny, [church.target], [church.surrogate], ids, loss="mse", guidance=1.0)[0]
    losses = []
    for window in (slice(0, 8), slice(8, 16)):
        with by_hand.active(tiny):
            states = hidden_states(tiny, [church.target], church.surrogate_ids[None])[0]
            loss = position_losses(tiny, states[window], towards[window], "mse").sum()
            losses.append(loss.item())
            if retention:  # as much per rehearsed position as per position of the window
                loss = loss + retention * 8 * rehearsal.loss(tiny, [0, 1, 2])
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
    assert log.loss == pytest.approx(losses, rel=1e-4)
    for name, weight in state(by_hand).items():
        torch.testing.assert_close(tuned.modules[name].weight, weight, rtol=1e-4, atol=1e-5)


def test_a_random_window_takes_the_only_step_of_its_image(tiny: JanusModel) -> None:
    """As `esd` does, a window is a single position."""
    recipe, church = replace(RECIPE, windows="random", passes=5), pair(1)
    tuned, log = training_loop(tiny, [church], resolved(recipe, window=1), 0)
    assert log.stepped == [True] * 5  # a step in each pass
    assert len(set(log.window)) > 1 and set(log.window) <= set(range(16))
    assert training_loop(tiny, [church], resolved(recipe, window=1), 1)[1].window != log.window
    again, repeated = training_loop(tiny, [church], resolved(recipe, window=1), 0)
    assert repeated.window == log.window and same(again, tuned)
    # By hand: the loss of the first drawn position alone.
    first = log.window[0]
    towards = guided(
        tiny,
        [church.target],
        [church.surrogate],
        church.surrogate_ids[None],
        loss=recipe.loss,
        guidance=recipe.guidance,
    )
    states = hidden_states(tiny, [church.target], church.surrogate_ids[None])
    losses = position_losses(tiny, states, towards, recipe.loss)
    assert log.loss[0] == pytest.approx(losses[0, first].item(), rel=1e-5)


def test_the_loss_falls(tiny: JanusModel) -> None:
    _, log = training_loop(tiny, [pair(1)], resolved(replace(RECIPE, passes=8)), 0)
    assert sum(log.loss[-2:]) < 0.7 * sum(log.loss[:2])


def test_the_model_is_left_bit_for_bit_as_it_was(tiny: JanusModel) -> None:
    before = {name: weight.clone() for name, weight in tiny.model.state_dict().items()}
    training_loop(tiny, [pair(1)], resolved(RECIPE), 0)
    after = tiny.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(weight.requires_grad for weight in tiny.model.parameters())


def test_a_window_at_or_below_the_threshold_takes_no_step(tiny: JanusModel) -> None:
    _, log = training_loop(tiny, [pair(1), pair(2)], resolved(RECIPE), 0)
    assert log.stepped == [True] * 4
    tuned, quiet = training_loop(tiny, [pair(1), pair(2)], resolved(replace(RECIPE, threshold=1e9)), 0)
    assert (quiet.stepped, quiet.steps) == ([False] * 4, 0)
    assert same(tuned, new_adapter(tiny, range(2), RECIPE.modules))
    # At the loss of the first window, which no step precedes: that window takes none, the others do if they are above.
    threshold = quiet.loss[0]
    _, masked = training_loop(tiny, [pair(1), pair(2)], resolved(replace(RECIPE, threshold=threshold)), 0)
    assert masked.loss[0] == threshold
    assert masked.stepped == [loss > threshold for loss in masked.loss]
    assert 0 < masked.steps < 4


def test_positions_left_over_are_a_window_or_dropped(tiny: JanusModel) -> None:
    assert count_windows(1, resolved(RECIPE, window=5)) == 4
    _, log = training_loop(tiny, [pair(1)], resolved(replace(RECIPE, tail="drop"), window=5), 0)
    assert log.window == [0, 1, 2]


def test_the_schedule_has_both_trajectories_of_every_pair_in_each_pass(tiny: JanusModel) -> None:
    shuffled = resolved(replace(RECIPE, trajectory="both", passes=2, order="shuffled"))

    def order(seed: int) -> list[str]:
        return [each.pairs[0].record_id for each in training_rounds([pair(1), pair(2), pair(3)], shuffled, seed)]

    assert sorted(order(0)[:6]) == sorted(order(0)[6:]) == ["1", "1", "2", "2", "3", "3"]
    assert order(0) == order(0)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1


def test_rehearsal_keeps_the_model_closer(tiny: JanusModel, rehearsal: RehearsalSet) -> None:
    without = resolved(replace(RECIPE, passes=6))
    with_rehearsal = resolved(replace(RECIPE, passes=6, retention=3.0, rehearsed=3, rehearsed_per_step=2))
    losses = []
    for recipe in (without, with_rehearsal):
        adapter, _ = training_loop(tiny, [pair(1)], recipe, 0, rehearsal=rehearsal)
        with adapter.active(tiny), torch.no_grad():
            losses.append(rehearsal.loss(tiny, [0, 1, 2]).item())
    assert losses[1] < 0.8 * losses[0]
    assert rehearsal.loss(tiny, [0, 1, 2]).item() < 1e-5


def test_an_interrupted_run_ends_with_the_same_weights(
    tiny: JanusModel, rehearsal: RehearsalSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    recipe = resolved(replace(RECIPE, order="shuffled", retention=1.0, rehearsed=3, rehearsed_per_step=2))
    pairs = [pair(1), pair(2), pair(3)]
    whole, whole_log = training_loop(tiny, pairs, recipe, 0, rehearsal=rehearsal)
    run, before_interrupt = TrainingRun(tmp_path / "run"), iter(range(5))

    def interrupt(_: TrainingState) -> None:
        if next(before_interrupt, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training_loop(tiny, pairs, recipe, 0, rehearsal=rehearsal, run=run, on_window=interrupt)
    lengths: list[int] = []
    resumed, log = training_loop(
        tiny,
        pairs,
        recipe,
        0,
        rehearsal=rehearsal,
        run=run,
        on_window=lambda state: lengths.append(len(state.log.loss)),
    )
    assert lengths == [4, 5, 6]
    assert same(whole, resumed)
    assert log == whole_log


def test_the_time_of_an_interrupted_process_counts(tiny: JanusModel, tmp_path: Path) -> None:
    run, recipe = TrainingRun(tmp_path), resolved(RECIPE)
    state = TrainingState.start(tiny, recipe, 0)
    state.log.seconds = 1000.0
    run.save_checkpoint(state.checkpoint())
    _, log = training_loop(tiny, [pair(1)], recipe, 0, run=run)
    assert 1000 < log.seconds < 1100


def test_a_slow_save_is_followed_by_a_longer_wait(
    tiny: JanusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most a twentieth of the time: of a minute a round, every twentieth round after a save of a minute."""
    clock = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    saved: list[int] = []

    def round_(*_: object) -> None:
        clock[0] += 60.0

    def save(_: TrainingRun, checkpoint: dict[str, Any]) -> None:
        clock[0] += 60.0
        saved.append(checkpoint["rounds"])

    monkeypatch.setattr(steps.WindowSteps, "train_round", round_)
    monkeypatch.setattr(TrainingRun, "save_checkpoint", save)
    training_loop(tiny, [pair(1)], resolved(replace(RECIPE, passes=50)), 0, run=TrainingRun(tmp_path))
    assert saved == [1, 22, 43]


def test_a_checkpoint_is_never_in_memory_as_a_whole(
    tiny: JanusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[object] = []
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda state, file: (written.append(file.name), save(state, file)))
    TrainingRun(tmp_path).save_checkpoint({"rounds": 1})
    assert TrainingRun(tmp_path).checkpoint() == {"rounds": 1}
    assert [Path(str(name)).parent for name in written] == [tmp_path]


@pytest.mark.parametrize(
    ("fault", "expected", "message"),
    [
        (OSError(errno.ENOSPC, "No space left"), DiskFull, r"no space left to write .*checkpoint\.pt: free some"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
    ids=["full disk", "Ctrl-C"],
)
def test_what_stops_the_saving_of_a_checkpoint_is_known(
    fault: BaseException,
    expected: type[BaseException],
    message: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch reports that the archive is not whole, and not why."""
    (tmp_path / "checkpoint.pt").write_bytes(b"the last")

    class Stopped(io.FileIO):
        def write(self, data: object) -> int:
            raise fault

    monkeypatch.setattr(Path, "open", lambda path, mode: Stopped(path, mode))
    with pytest.raises(expected, match=message):
        TrainingRun(tmp_path).save_checkpoint({"weights": torch.zeros(1000)})
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"the last"]


def test_the_number_of_threads_is_known_without_reading_the_weights(
    tiny: JanusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrainingRun(tmp_path)
    assert run.threads is None
    run.save_checkpoint({**TrainingState.start(tiny, resolved(RECIPE), 0).checkpoint(), "threads": 3})
    load, mapped = torch.load, []
    monkeypatch.setattr(torch, "load", lambda *a, mmap, **b: (mapped.append(mmap), load(*a, mmap=mmap, **b))[1])
    assert run.threads == 3 and mapped == [True]


def test_a_damaged_checkpoint_is_named(tiny: JanusModel, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"torn")
    with pytest.raises(AdapterError, match=r"checkpoint\.pt is damaged: delete it"):
        training_loop(tiny, [pair(1)], resolved(RECIPE), 0, run=TrainingRun(tmp_path))


def test_a_checkpoint_of_another_version_is_named(tiny: JanusModel, tmp_path: Path) -> None:
    run = TrainingRun(tmp_path)
    run.save_checkpoint({"weights": {}, "done": 3})
    with pytest.raises(AdapterError, match=f"{tmp_path}/checkpoint.pt is of another version: delete it"):
        training_loop(tiny, [pair(1)], resolved(RECIPE), 0, run=run)


def test_a_training_resumes_on_the_kind_of_device_on_which_it_was_begun(tiny: JanusModel, tmp_path: Path) -> None:
    run, recipe = TrainingRun(tmp_path), resolved(RECIPE)
    checkpoint = TrainingState.start(tiny, recipe, 0).checkpoint()
    on_cuda = {"device": "cuda", "generator": torch.zeros(16, dtype=torch.uint8)}
    run.save_checkpoint({**checkpoint, **on_cuda})
    message = f"this training was begun on cuda: resume with --device cuda, or delete {tmp_path}/checkpoint.pt"
    with pytest.raises(AdapterError, match=message):
        training_loop(tiny, [pair(1)], recipe, 0, run=run)


def test_a_training_resumes_with_the_number_of_processes_with_which_it_was_begun(
    tiny: JanusModel, tmp_path: Path
) -> None:
    run, recipe = TrainingRun(tmp_path), resolved(RECIPE)
    run.save_checkpoint({**TrainingState.start(tiny, recipe, 0).checkpoint(), "processes": 2})
    message = rf"begun with 2 process\(es\) and not 1: resume with as many, or delete {tmp_path}/checkpoint\.pt"
    with pytest.raises(AdapterError, match=message):
        training_loop(tiny, [pair(1)], recipe, 0, run=run)


def test_a_loss_that_is_not_finite_stops_with_advice(tiny: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "position_losses", lambda *_: torch.full((8,), torch.nan, requires_grad=True))
    with pytest.raises(RecipeError, match="smaller learning rate"):
        training_loop(tiny, [pair(1)], resolved(RECIPE), 0)


ON_POLICY = replace(
    RECIPE, loss="kl", guidance=0.0, trajectory="rollout", rollouts=3, images_per_step=2, schedule="linear", passes=2
)
SAMPLING = Sampling(guidance=2.0)


def test_rollouts_are_the_tuned_models_own_images(tiny: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first round's are the frozen model's, for nothing is tuned yet; later ones differ from them."""
    generate, rounds = steps.generate_image_tokens, []

    def recorded(model: JanusModel, prompts: list[str], noise: Tensor, sampling: Sampling) -> ImageTokens:
        images = generate(model, prompts, noise, sampling)
        rounds.append((prompts, noise, images.vq_ids.clone()))
        return images

    monkeypatch.setattr(steps, "generate_image_tokens", recorded)
    pairs = [pair(number) for number in range(3)]
    training_loop(tiny, pairs, resolved(replace(ON_POLICY, learning_rate=0.05)), 0, sampling=SAMPLING)
    frozen = [generate(tiny, prompts, noise, SAMPLING).vq_ids for prompts, noise, _ in rounds]
    assert len(rounds) == 2 and all(sorted(prompts) == sorted(each.target for each in pairs) for prompts, *_ in rounds)
    assert torch.equal(rounds[0][2], frozen[0]) and not torch.equal(rounds[1][2], frozen[1])
    assert not torch.equal(rounds[0][1], rounds[1][1])  # new noise in each round


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of each step."""
    found: list[float] = []
    step = torch.optim.Adam.step

    class Recorded(torch.optim.Adam):
        def step(self, *args: Any, **settings: Any) -> Any:
            found.append(self.param_groups[0]["lr"])
            return step(self, *args, **settings)

    monkeypatch.setattr(torch.optim, "Adam", Recorded)
    return found


def test_a_step_takes_several_rollouts_and_the_learning_rate_falls(tiny: JanusModel, rates: list[float]) -> None:
    pairs = [pair(number) for number in range(3)]
    recipe = resolved(ON_POLICY, window=16)
    _, log = training_loop(tiny, pairs, recipe, 0, sampling=SAMPLING)
    assert count_windows(len(pairs), recipe) == log.steps == 4
    assert [each.count("+") for each in log.pair] == [1, 0, 1, 0]
    assert rates == pytest.approx([ON_POLICY.learning_rate * left for left in (1, 0.75, 0.5, 0.25)])


def test_of_a_number_of_steps_windows_without_a_step_use_up_nothing(tiny: JanusModel, rates: list[float]) -> None:
    pairs = [pair(1), pair(2)]
    _, quiet = training_loop(tiny, pairs, resolved(replace(RECIPE, threshold=1e9)), 0)
    recipe = replace(RECIPE, threshold=quiet.loss[0], schedule="linear", passes=5, max_steps=2)
    _, log = training_loop(tiny, pairs, resolved(recipe), 0)
    assert log.steps == 2 and not log.stepped[0]
    assert rates == pytest.approx([recipe.learning_rate, recipe.learning_rate / 2])


def test_more_steps_than_windows_leave_the_learning_rate_as_it_is(tiny: JanusModel, rates: list[float]) -> None:
    recipe = resolved(replace(RECIPE, schedule="linear", max_steps=100))
    assert count_windows(1, recipe) == 2
    training_loop(tiny, [pair(1)], recipe, 0)
    assert rates == pytest.approx([RECIPE.learning_rate, RECIPE.learning_rate / 2])


def test_windows_are_counted_whatever_the_number_of_steps(tiny: JanusModel) -> None:
    recipe = resolved(replace(RECIPE, passes=5, max_steps=2))
    assert (count_windows(2, recipe), most_steps(2, recipe)) == (20, 2)
    assert training_loop(tiny, [pair(1), pair(2)], recipe, 0)[1].steps == 2


def test_on_policy_training_approaches_the_surrogate(tiny: JanusModel) -> None:
    recipe = resolved(replace(ON_POLICY, passes=30, learning_rate=3e-3), window=16)
    _, log = training_loop(tiny, [pair(1), pair(2), pair(3)], recipe, 0, sampling=SAMPLING)
    assert sum(log.loss[-6:]) < 0.75 * sum(log.loss[:6])


def test_an_interrupted_on_policy_run_ends_with_the_same_weights(
    tiny: JanusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    pairs, recipe = [pair(number) for number in range(3)], resolved(replace(ON_POLICY, passes=4), window=16)
    whole, log = training_loop(tiny, pairs, recipe, 0, sampling=SAMPLING)
    run = TrainingRun(tmp_path)
    windows = iter(range(5))

    def interrupt(_: TrainingState) -> None:
        if next(windows, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training_loop(tiny, pairs, recipe, 0, sampling=SAMPLING, run=run, on_window=interrupt)
    resumed, resumed_log = training_loop(tiny, pairs, recipe, 0, sampling=SAMPLING, run=run)
    assert same(whole, resumed) and log == resumed_log


def test_a_retention_loss_that_is_not_finite_is_one_line(
    tiny: JanusModel, rehearsal: RehearsalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RehearsalSet, "loss", lambda *_, **__: torch.tensor(torch.nan, requires_grad=True))
    recipe = replace(RECIPE, retention=1.0, rehearsed=3, rehearsed_per_step=3)
    with pytest.raises(RecipeError, match="the loss is not finite after 0 steps"):
        training_loop(tiny, [pair(1)], resolved(recipe), 0, rehearsal=rehearsal)


def test_a_rollout_that_is_not_finite_is_one_line(tiny: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ImageTokens(torch.zeros(3, 16, dtype=torch.int64), torch.tensor([True, False, True]))
    monkeypatch.setattr(steps, "generate_image_tokens", lambda *_: broken)
    with pytest.raises(RecipeError, match="a rollout is not finite after 0 steps"):
        training_loop(tiny, [pair(number) for number in range(3)], resolved(ON_POLICY), 0, sampling=SAMPLING)
