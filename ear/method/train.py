"""The training loop: pair by pair, window by window, one Adam step per window that is not yet erased."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from ear.method.adapter import Adapter, new_adapter
from ear.method.objective import guided_target, position_losses, windows
from ear.method.pairs import TrainingPair
from ear.method.recipe import ResolvedRecipe
from ear.method.retention import RehearsalSet
from ear.method.runs import TrainingRun
from ecgvf.core import seeds
from ecgvf.core.errors import RecipeError
from ecgvf.janus import JanusModel, hidden_states

CHECKPOINT_SECONDS = 15.0


@dataclass(slots=True)
class TrainingLog:
    """One entry per window, in order."""

    pair: list[str] = field(default_factory=list)
    """Record ids."""
    window: list[int] = field(default_factory=list)
    """k, from 0 in each trajectory."""
    loss: list[float] = field(default_factory=list)
    """L_k: the sum over the window, before the step."""
    retention_loss: list[float | None] = field(default_factory=list)
    """Mean divergence on rehearsed images, in nats; None without rehearsal or step."""
    stepped: list[bool] = field(default_factory=list)

    @property
    def steps(self) -> int:
        return sum(self.stepped)

    def json(self) -> dict[str, Any]:
        """As run.json and checkpoints hold it."""
        return {"kept" if name == "retention_loss" else name: values for name, values in asdict(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The log that ``json`` returned."""
        return cls(**{"retention_loss" if name == "kept" else name: values for name, values in content.items()})


def train(
    model: JanusModel,
    pairs: Sequence[TrainingPair],
    resolved: ResolvedRecipe,
    seed: int,
    *,
    rehearsal: RehearsalSet | None = None,
    run: TrainingRun | None = None,
    advance: Callable[[int], object] = lambda windows: None,
) -> tuple[Adapter, TrainingLog]:
    """Train an adapter (float32) that erases the concept. ``model`` is left as it was.

    With a ``run``, training resumes from its checkpoint and saves new ones; the result is that of an uninterrupted
    training. ``advance`` is called with 1 after each window, and once with the number of windows of the checkpoint.
    Raises ``RecipeError`` if a loss is not finite.
    """
    recipe = resolved.recipe
    adapter = new_adapter(model, resolved.layers, recipe.projections)
    optimizer = torch.optim.Adam(adapter.weights, lr=recipe.learning_rate)
    trainer = _Trainer(model, resolved, seed, rehearsal, adapter, optimizer)
    if run is not None and (state := run.checkpoint()) is not None:
        trainer.restore(state)
        advance(len(trainer.log.loss))
    saved = time.monotonic()
    for pair, trajectory in schedule(pairs, resolved, seed)[trainer.done :]:
        guided = guided_target(
            model, pair.target, pair.surrogate, trajectory, loss=recipe.loss, guidance=recipe.guidance
        )
        with adapter.active(model):
            for number, window in enumerate(windows(resolved.tokens, resolved.window, recipe.tail)):
                trainer.train_window(pair, trajectory, guided, window, number)
                advance(1)
        trainer.done += 1
        if run is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
            run.save_checkpoint(trainer.state())
            saved = time.monotonic()
    for weight in adapter.weights:
        weight.requires_grad_(False)
    return adapter, trainer.log


def schedule(pairs: Sequence[TrainingPair], resolved: ResolvedRecipe, seed: int) -> list[tuple[TrainingPair, Tensor]]:
    """Pairs and trajectories (int64 [T]) in training order, all passes."""
    recipe, order = resolved.recipe, []
    for number in range(recipe.passes):
        shuffled = list(pairs)
        if recipe.order == "shuffled":
            random.Random(seeds.derive(seed, str(number), "order")).shuffle(shuffled)
        order += [(pair, trajectory) for pair in shuffled for trajectory in pair.trajectories(recipe.trajectory)]
    return order


def count_windows(pairs: Sequence[TrainingPair], resolved: ResolvedRecipe) -> int:
    """Number of windows in a training, whether they take a step or not."""
    per_trajectory = len(list(windows(resolved.tokens, resolved.window, resolved.recipe.tail)))
    return per_trajectory * len(schedule(pairs, resolved, 0))


@dataclass(slots=True)
class _Trainer:
    """The state of a training, and the step of one window."""

    model: JanusModel
    resolved: ResolvedRecipe
    seed: int
    rehearsal: RehearsalSet | None
    adapter: Adapter
    optimizer: torch.optim.Adam
    log: TrainingLog = field(default_factory=TrainingLog)
    done: int = 0
    """Finished entries of the schedule."""

    def train_window(self, pair: TrainingPair, trajectory: Tensor, guided: Tensor, window: range, number: int) -> None:
        """Equations 7 and 8 for one window, with the weights that the window before left."""
        recipe, log = self.resolved.recipe, self.log
        states = hidden_states(self.model, [pair.target], trajectory[None, : window.stop])[0, window.start :]
        loss = position_losses(self.model, states, guided[window.start : window.stop], recipe.loss).sum()
        value = loss.item()
        retention_loss: Tensor | None = None
        # Not `value > threshold`: a NaN loss must not pass for erased.
        step = not value <= recipe.threshold
        if step:
            if self.rehearsal is not None and recipe.retention:
                batch = self.rehearsal.batch(self.seed, log.steps, recipe.rehearsed_per_step)
                retention_loss = self.rehearsal.loss(self.model, batch)
                # Both terms count per position: a window of L losses weighs as much as L rehearsed positions.
                loss = loss + recipe.retention * len(window) * retention_loss
            if not torch.isfinite(loss):
                raise RecipeError(
                    f"the loss is no longer finite after {log.steps} steps (pair {pair.record_id}, window {number}): "
                    f"train with a smaller learning rate (it is {recipe.learning_rate:g})"
                )
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self.optimizer.step()
        log.pair.append(pair.record_id)
        log.window.append(number)
        log.loss.append(value)
        log.retention_loss.append(None if retention_loss is None else retention_loss.item())
        log.stepped.append(step)

    def state(self) -> dict[str, Any]:
        """Everything that changes while training, for a checkpoint."""
        weights = {name: projection.weight.detach() for name, projection in self.adapter.projections.items()}
        return {
            "weights": weights,
            "optimizer": self.optimizer.state_dict(),
            "log": self.log.json(),
            "done": self.done,
            "threads": torch.get_num_threads(),
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what ``state`` returned."""
        for name, projection in self.adapter.projections.items():
            projection.weight.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.log, self.done = TrainingLog.from_json(state["log"]), int(state["done"])
