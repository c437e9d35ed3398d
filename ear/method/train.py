"""The loop: pair by pair, window by window, one step of Adam per window that is not yet erased."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ear.method import adapter as adapters
from ear.method.adapter import Adapter
from ear.method.objective import aim, position_losses, windows
from ear.method.pairs import TrainingPair
from ear.method.recipe import Resolved
from ear.method.retention import Rehearsal
from ear.method.runs import Run
from ecgvf.core import seeds
from ecgvf.core.errors import RecipeError
from ecgvf.janus import JanusModel, hidden_states

CHECKPOINT_SECONDS = 15.0


@dataclass(slots=True)
class Log:
    """What happened, window by window, in order."""

    pair: list[str] = field(default_factory=list)
    window: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    """L_k: the sum over the window, before the step."""
    kept: list[float | None] = field(default_factory=list)
    """Mean divergence on rehearsed pictures, in nats; None where nothing was rehearsed or no step taken."""
    stepped: list[bool] = field(default_factory=list)

    @property
    def steps(self) -> int:
        return sum(self.stepped)


def train(
    model: JanusModel,
    pairs: Sequence[TrainingPair],
    resolved: Resolved,
    seed: int,
    *,
    rehearsal: Rehearsal | None = None,
    run: Run | None = None,
    visited: Callable[[int], object] = lambda windows: None,
) -> tuple[Adapter, Log]:
    """Erase: returns the tuned adapter (float32) and what happened. ``model`` is left as it was.

    With a ``run``, goes on from its checkpoint and leaves new ones; the result is the same as without interruption.
    ``visited`` is called with 1 after each window, and once with the number of those done before.
    Raises ``RecipeError`` where a loss is no longer a number.
    """
    recipe = resolved.recipe
    adapter = adapters.fresh(model, resolved.layers, recipe.projections)
    optimizer = torch.optim.Adam(adapter.weights, lr=recipe.learning_rate)
    loop = _Loop(model, resolved, seed, rehearsal, adapter, optimizer)
    if run is not None and (state := run.checkpoint()) is not None:
        loop.restore(state)
        visited(len(loop.log.loss))
    saved = time.monotonic()
    for pair, trajectory in schedule(pairs, resolved, seed)[loop.done :]:
        aimed = aim(model, pair.target, pair.surrogate, trajectory, loss=recipe.loss, guidance=recipe.guidance)
        with adapter.active(model):
            for number, window in enumerate(windows(resolved.tokens, resolved.window, recipe.tail)):
                loop.visit(pair, trajectory, aimed, window, number)
                visited(1)
        loop.done += 1
        if run is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
            run.save_checkpoint(loop.state())
            saved = time.monotonic()
    for weight in adapter.weights:
        weight.requires_grad_(False)
    return adapter, loop.log


def schedule(pairs: Sequence[TrainingPair], resolved: Resolved, seed: int) -> list[tuple[TrainingPair, Tensor]]:
    """Pairs and trajectories in the order of training."""
    recipe, order = resolved.recipe, []
    for number in range(recipe.passes):
        now = list(pairs)
        if recipe.order == "shuffled":
            random.Random(seeds.derive(seed, str(number), "order")).shuffle(now)
        order += [(pair, trajectory) for pair in now for trajectory in pair.trajectories(recipe.trajectory)]
    return order


def visits(pairs: Sequence[TrainingPair], resolved: Resolved) -> int:
    """How many windows a training visits, with a step or without."""
    each = len(list(windows(resolved.tokens, resolved.window, resolved.recipe.tail)))
    return each * len(schedule(pairs, resolved, 0))


@dataclass(slots=True)
class _Loop:
    """What changes while training, and one visit to one window."""

    model: JanusModel
    resolved: Resolved
    seed: int
    rehearsal: Rehearsal | None
    adapter: Adapter
    optimizer: torch.optim.Adam
    log: Log = field(default_factory=Log)
    done: int = 0
    """Pairs (and trajectories) of the schedule that are finished."""

    def visit(self, pair: TrainingPair, trajectory: Tensor, aimed: Tensor, window: range, number: int) -> None:
        """Equations 7 and 8 for one window, with the weights as the window before left them."""
        recipe, log = self.resolved.recipe, self.log
        states = hidden_states(self.model, [pair.target], trajectory[None, : window.stop])[0, window.start :]
        loss = position_losses(self.model, states, aimed[window.start : window.stop], recipe.loss).sum()
        value = loss.item()
        kept: Tensor | None = None
        # Not `value > threshold`: a loss that is no number must not pass for erased.
        step = not value <= recipe.threshold
        if step:
            if self.rehearsal is not None and recipe.retention:
                chosen = self.rehearsal.batch(self.seed, log.steps, recipe.rehearsed_per_step)
                kept = self.rehearsal.loss(self.model, chosen)
                # Both terms count per position: a window of L losses weighs as much as L rehearsed positions.
                loss = loss + recipe.retention * len(window) * kept
            if not torch.isfinite(loss):
                raise RecipeError(
                    f"the loss is no longer a number after {log.steps} steps (pair {pair.record_id}, window {number}): "
                    f"train with a smaller learning rate (it is {recipe.learning_rate:g})"
                )
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self.optimizer.step()
        log.pair.append(pair.record_id)
        log.window.append(number)
        log.loss.append(value)
        log.kept.append(None if kept is None else kept.item())
        log.stepped.append(step)

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        weights = {name: projection.weight.detach() for name, projection in self.adapter.projections.items()}
        return {
            "weights": weights,
            "optimizer": self.optimizer.state_dict(),
            "log": asdict(self.log),
            "done": self.done,
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        for name, projection in self.adapter.projections.items():
            projection.weight.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.log, self.done = Log(**state["log"]), int(state["done"])
