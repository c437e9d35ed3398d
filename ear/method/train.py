"""The training loop: round by round, window by window, one Adam step per window that is not yet erased.

A round has some pairs, each with a trajectory: an image of the dataset, or one that the tuned model renders at the
start of the round (a rollout). Steps take a few of them at a time.
"""

import math
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
from ecgvf.janus import JanusModel, Sampling, generate_image_tokens, hidden_states, uniform_noise

CHECKPOINT_SECONDS = 15.0


@dataclass(slots=True)
class TrainingLog:
    """One entry per window, in order."""

    pair: list[str] = field(default_factory=list)
    """Record ids, joined by "+" if a step takes several."""
    window: list[int] = field(default_factory=list)
    """k, from 0 in each trajectory."""
    loss: list[float] = field(default_factory=list)
    """L_k: the sum over the window, before the step; the mean over the step's images."""
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


@dataclass(frozen=True, slots=True)
class Round:
    """Pairs that are trained on together."""

    pairs: tuple[TrainingPair, ...]
    vq_ids: Tensor | None
    """Their trajectories, int64 [R, T]; None: the tuned model renders them."""


def train(
    model: JanusModel,
    pairs: Sequence[TrainingPair],
    resolved: ResolvedRecipe,
    seed: int,
    *,
    sampling: Sampling = Sampling(),
    rehearsal: RehearsalSet | None = None,
    run: TrainingRun | None = None,
    advance: Callable[[int], object] = lambda windows: None,
) -> tuple[Adapter, TrainingLog]:
    """Train an adapter (float32) that erases the concept. ``model`` is left as it was.

    ``sampling`` is that of rendering, for rollouts. With a ``run``, training resumes from its checkpoint and saves new
    ones; the result is that of an uninterrupted training. ``advance`` is called with 1 after each window, and once with
    the number of windows of the checkpoint. Raises ``RecipeError`` if a loss is not finite, or a rollout.
    """
    recipe = resolved.recipe
    adapter = new_adapter(model, resolved.layers, recipe.projections)
    optimizer = torch.optim.Adam(adapter.weights, lr=recipe.learning_rate)
    total = count_windows(pairs, resolved)
    trainer = _Trainer(model, resolved, seed, sampling, rehearsal, adapter, optimizer, total, advance)
    if run is not None and (state := run.checkpoint()) is not None:
        trainer.restore(state)
        advance(len(trainer.log.loss))
    saved = time.monotonic()
    for each in schedule(pairs, resolved, seed)[trainer.done :]:
        trainer.train_round(each)
        trainer.done += 1
        if run is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
            run.save_checkpoint(trainer.state())
            saved = time.monotonic()
    for weight in adapter.weights:
        weight.requires_grad_(False)
    return adapter, trainer.log


def schedule(pairs: Sequence[TrainingPair], resolved: ResolvedRecipe, seed: int) -> list[Round]:
    """The rounds in training order, all passes. Pairs left over at the end of the last pass are a smaller round."""
    recipe = resolved.recipe
    order: list[TrainingPair] = []
    for number in range(recipe.passes):
        shuffled = list(pairs)
        if recipe.order == "shuffled":
            random.Random(seeds.derive(seed, str(number), "order")).shuffle(shuffled)
        order += shuffled
    if recipe.trajectory == "rollout":
        starts = range(0, len(order), recipe.rollouts)
        return [Round(tuple(order[start : start + recipe.rollouts]), None) for start in starts]
    return [Round((pair,), vq_ids[None]) for pair in order for vq_ids in pair.trajectories(recipe.trajectory)]


def count_windows(pairs: Sequence[TrainingPair], resolved: ResolvedRecipe) -> int:
    """Number of windows in a training, whether they take a step or not."""
    per_image = len(list(windows(resolved.tokens, resolved.window, resolved.recipe.tail)))
    per_step = resolved.recipe.images_per_step
    return per_image * sum(math.ceil(len(each.pairs) / per_step) for each in schedule(pairs, resolved, 0))


@dataclass(slots=True)
class _Trainer:
    """The state of a training, its rounds, and the step of one window."""

    model: JanusModel
    resolved: ResolvedRecipe
    seed: int
    sampling: Sampling
    rehearsal: RehearsalSet | None
    adapter: Adapter
    optimizer: torch.optim.Adam
    total: int
    """Windows of the whole training."""
    advance: Callable[[int], object]
    log: TrainingLog = field(default_factory=TrainingLog)
    done: int = 0
    """Finished rounds."""

    def train_round(self, each: Round) -> None:
        """All steps of one round."""
        recipe = self.resolved.recipe
        vq_ids = self._rollouts(each.pairs) if each.vq_ids is None else each.vq_ids
        for start in range(0, len(each.pairs), recipe.images_per_step):
            batch = slice(start, start + recipe.images_per_step)
            pairs, trajectories = each.pairs[batch], vq_ids[batch]
            targets = [pair.target for pair in pairs]
            surrogates = [pair.surrogate for pair in pairs]
            guided = guided_target(
                self.model, targets, surrogates, trajectories, loss=recipe.loss, guidance=recipe.guidance
            )
            with self.adapter.active(self.model):
                for number, window in enumerate(windows(self.resolved.tokens, self.resolved.window, recipe.tail)):
                    self._train_window(pairs, trajectories, guided, window, number)
                    self.advance(1)

    def _rollouts(self, pairs: Sequence[TrainingPair]) -> Tensor:
        """The tuned model's images of the target prompts, as rendering samples them: int64 [R, T]."""
        noise = uniform_noise(
            [seeds.derive(self.seed, f"{self.done}/{index}", "rollout") for index in range(len(pairs))],
            self.resolved.tokens,
        )
        with self.adapter.active(self.model):
            images = generate_image_tokens(self.model, [pair.target for pair in pairs], noise, self.sampling)
        if not images.finite.all():
            raise RecipeError(self._diverged("a rollout", pairs))
        vq_ids: Tensor = images.vq_ids.clone()  # not an inference tensor: the loss is differentiated along it
        return vq_ids

    def _train_window(
        self, pairs: Sequence[TrainingPair], vq_ids: Tensor, guided: Tensor, window: range, number: int
    ) -> None:
        """Equations 7 and 8 for one window, with the weights that the window before left."""
        recipe, log = self.resolved.recipe, self.log
        states = hidden_states(self.model, [pair.target for pair in pairs], vq_ids[:, : window.stop])
        guided = guided[:, window.start : window.stop]
        losses = position_losses(self.model, states[:, window.start :], guided, recipe.loss)
        loss = losses.sum(dim=-1).mean()
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
                raise RecipeError(self._diverged(f"the loss of window {number}", pairs))
            if recipe.schedule == "linear":
                for group in self.optimizer.param_groups:
                    group["lr"] = recipe.learning_rate * (1 - len(log.loss) / self.total)
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self.optimizer.step()
        log.pair.append("+".join(pair.record_id for pair in pairs))
        log.window.append(number)
        log.loss.append(value)
        log.retention_loss.append(None if retention_loss is None else retention_loss.item())
        log.stepped.append(step)

    def _diverged(self, what: str, pairs: Sequence[TrainingPair]) -> str:
        return (
            f"{what} is not finite after {self.log.steps} steps (pair {pairs[0].record_id}): train with a smaller "
            f"learning rate (it is {self.resolved.recipe.learning_rate:g})"
        )

    def state(self) -> dict[str, Any]:
        """Everything that changes while training, for a checkpoint between two rounds."""
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
