"""The steps of a round, with context: window by window, one Adam step per window that is not yet erased."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ear.method.objective import guided_target, position_losses, windows
from ear.method.pairs import TrainingPair
from ear.method.recipe import ResolvedRecipe
from ear.method.retention import RehearsalSet
from ear.method.schedule import Round
from ear.method.state import TrainingState
from ecgvf.core import seeds
from ecgvf.janus import JanusModel, Sampling, generate_image_tokens, hidden_states, uniform_noise


@dataclass(slots=True)
class WindowSteps:
    """What the steps of a training need."""

    model: JanusModel
    resolved: ResolvedRecipe
    seed: int
    sampling: Sampling
    rehearsal: RehearsalSet | None
    state: TrainingState
    total: int
    """Windows of the whole training, or steps if the recipe ends it earlier."""
    watch: Callable[[TrainingState], object]

    def train_round(self, each: Round) -> None:
        """All steps of one round."""
        recipe = self.resolved.recipe
        vq_ids = self._rollouts(each.pairs) if each.vq_ids is None else each.vq_ids
        batches = range(0, len(each.pairs), recipe.images_per_step)
        for start in [*batches] * recipe.rollout_epochs:
            batch = slice(start, start + recipe.images_per_step)
            self._train_batch(each.pairs[batch], vq_ids[batch])
            if self.state.finished(recipe):
                return

    def _rollouts(self, pairs: Sequence[TrainingPair]) -> Tensor:
        """The tuned model's images of the target prompts, as rendering samples them: int64 [R, T]."""
        noise = uniform_noise(
            [seeds.derive(self.seed, f"{self.state.rounds}/{index}", "rollout") for index in range(len(pairs))],
            self.resolved.tokens,
        )
        with self.state.adapter.active(self.model):
            images = generate_image_tokens(self.model, [pair.target for pair in pairs], noise, self.sampling)
        if not images.finite.all():
            raise self.state.diverged("a rollout", self.resolved.recipe.learning_rate)
        vq_ids: Tensor = images.vq_ids.clone()  # not an inference tensor: the loss is differentiated along it
        return vq_ids

    def _train_batch(self, pairs: Sequence[TrainingPair], vq_ids: Tensor) -> None:
        """The windows of some images, in order, or one of them at random."""
        recipe, model = self.resolved.recipe, self.model
        targets, surrogates = [pair.target for pair in pairs], [pair.surrogate for pair in pairs]
        with self._autocast():
            guided = guided_target(model, targets, surrogates, vq_ids, loss=recipe.loss, guidance=recipe.guidance)
        chosen = list(enumerate(windows(self.resolved.tokens, self.resolved.window, recipe.tail)))
        if recipe.windows == "random":
            drawn = random.Random(seeds.derive(self.seed, str(len(self.state.log.loss)), "window"))
            chosen = [drawn.choice(chosen)]
        for number, window in chosen:
            with self.state.adapter.active(model):
                self._train_window(pairs, vq_ids, guided, window, number)
            self.watch(self.state)
            if self.state.finished(recipe):
                return

    def _train_window(
        self, pairs: Sequence[TrainingPair], vq_ids: Tensor, guided: Tensor, window: range, number: int
    ) -> None:
        """Equations 7 and 8 for one window, with the weights that the window before left."""
        recipe, state = self.resolved.recipe, self.state
        guided = guided[:, window.start : window.stop]
        with self._autocast():
            targets, seen = [pair.target for pair in pairs], vq_ids[:, : window.stop]
            states = hidden_states(self.model, targets, seen, checkpointing=recipe.checkpointing == "layers")
            losses = position_losses(self.model, states[:, window.start :], guided, recipe.loss)
        loss = losses.sum(dim=-1).mean()
        value, retention_value = loss.item(), None
        # Not `value > threshold`: a NaN loss must not pass for erased.
        step = not value <= self.resolved.threshold(len(window))
        if step:
            if self.rehearsal is not None and recipe.retention:
                batch = self.rehearsal.batch(self.seed, state.log.steps, recipe.rehearsed_per_step)
                with self._autocast():
                    checkpointing = recipe.checkpointing == "layers"
                    retention_loss = self.rehearsal.loss(self.model, batch, checkpointing=checkpointing)
                # Both terms count per position: a window of L losses weighs as much as L rehearsed positions.
                loss = loss + recipe.retention * len(window) * retention_loss
                retention_value = retention_loss.item()
            left = max(0.0, 1 - len(state.log.loss) / self.total) if recipe.schedule == "linear" else 1.0
            state.step(loss, recipe.learning_rate * left)
        state.log.add("+".join(pair.record_id for pair in pairs), number, value, step, retention_value)

    def _autocast(self) -> torch.autocast:
        enabled = self.resolved.recipe.mixed_precision == "bf16"
        return torch.autocast(self.model.device.type, torch.bfloat16, enabled=enabled)
