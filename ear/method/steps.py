"""Training steps with context: window by window, a step of Adam for each window whose loss exceeds the threshold."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ear.method.objective import position_losses, windows
from ear.method.pairs import TrainingPair
from ear.method.parallel import ProcessGroup
from ear.method.recipe import ResolvedRecipe
from ear.method.retention import RehearsalSet
from ear.method.rounds import Round
from ear.method.state import TrainingState
from ear.method.teacher import Teacher
from ecgvf.core import seeds
from ecgvf.janus import JanusModel, Sampling, generate_image_tokens, hidden_states, uniform_noise


@dataclass(slots=True)
class WindowSteps:
    """Takes the steps of a training, round by round: ``train_round`` → batches of images → windows → ``state.step``."""

    model: JanusModel
    resolved: ResolvedRecipe
    seed: int
    sampling: Sampling
    rehearsal: RehearsalSet | None
    state: TrainingState
    total_windows: int
    """Windows of the whole training, whether they take a step or not (``count_windows``)."""
    on_window: Callable[[TrainingState], object]
    teacher: Teacher

    @property
    def group(self) -> ProcessGroup:
        """The processes that share each step's images."""
        return self.state.group

    def train_round(self, round_: Round) -> None:
        """Take all steps of a round."""
        recipe = self.resolved.recipe
        vq_ids = self._rollouts(round_.pairs) if round_.vq_ids is None else round_.vq_ids
        starts = range(0, len(round_.pairs), recipe.images_per_step)
        batches = [self._batch(round_, vq_ids, start) for start in starts]
        for _ in range(recipe.rollout_epochs):
            for batch in batches:
                self._train_batch(batch)
                if self.state.finished(recipe):
                    return
        if round_.vq_ids is None:
            self.teacher.forget()

    def _rollouts(self, pairs: Sequence[TrainingPair]) -> Tensor:
        """The tuned model's images of the target prompts, as rendering samples them: int64 [R, T]."""
        local = self.group.share(range(len(pairs)))
        noise = uniform_noise(
            [seeds.derive(self.seed, f"{self.state.rounds}/{index}", "rollout") for index in local],
            self.resolved.tokens,
        )
        vq_ids = torch.empty(0, self.resolved.tokens, dtype=torch.int64, device=self.model.device)
        finite = torch.ones(1, device=self.model.device)
        if local:
            with self.state.adapter.active(self.model):
                images = generate_image_tokens(
                    self.model, [pairs[index].target for index in local], noise, self.sampling
                )
            vq_ids = images.vq_ids.clone()  # not an inference tensor: the loss is differentiated along it
            finite = images.finite.all().float()[None].clone()
        self.group.sum_([finite])
        if finite.item() < self.group.count:
            raise self.state.divergence_error("a rollout", self.resolved.recipe.learning_rate)
        return self.group.gather(vq_ids, len(pairs))

    def _batch(self, round_: Round, vq_ids: Tensor, start: int) -> "_Batch":
        """The images of a step, from the ``start``-th of the round, and this process's share of them."""
        recipe = self.resolved.recipe
        indices = range(start, min(start + recipe.images_per_step, len(round_.pairs)))
        local = self.group.share(indices)
        record_ids = [round_.pairs[index].record_id for index in indices]
        again = recipe.rollout_epochs > 1 or (recipe.passes > 1 and round_.vq_ids is not None)
        # With its place in the round, which may have several rollouts of a pair.
        key = f"{start}/{round_.trajectory}/{'+'.join(record_ids)}" if again else None
        return _Batch(record_ids, [round_.pairs[index] for index in local], vq_ids[list(local)], key)

    def _train_batch(self, batch: "_Batch") -> None:
        """Train on every window of a batch, in order, or on a random window."""
        recipe, model = self.resolved.recipe, self.model
        guided = None
        if batch.local_pairs:
            surrogates = [pair.surrogate for pair in batch.local_pairs]
            with self._autocast():
                guided = self.teacher.guided(batch.targets, surrogates, batch.vq_ids, batch.key)
        chosen = list(enumerate(windows(self.resolved.tokens, self.resolved.window, recipe.tail)))
        if recipe.windows == "random":
            drawn = random.Random(seeds.derive(self.seed, str(len(self.state.log.loss)), "window"))
            chosen = [drawn.choice(chosen)]
        for number, window in chosen:
            with self.state.adapter.active(model):
                value, step, retained = self._train_window(batch, guided, window)
            self.state.log.add("+".join(batch.record_ids), number, value, step, retained)
            self.on_window(self.state)
            if self.state.finished(recipe):
                return

    def _train_window(self, batch: "_Batch", guided: Tensor | None, window: range) -> tuple[float, bool, float | None]:
        """Sum the losses of a window (equation 7), and take a step if the sum exceeds the threshold (equation 8).

        ``guided`` is what this process's images have to match (``guided_outputs``); None if it has no image.
        The step's loss is the erasing loss plus the retention loss, weighted per position. Returns the erasing loss,
        whether a step was taken, and the retention loss (None without a step or rehearsal).
        """
        recipe, state = self.resolved.recipe, self.state
        loss = self._window_loss(batch, guided, window)
        value = self._summed(loss)
        # Not `value > threshold`: a NaN loss must not pass for erased.
        if value <= self.resolved.threshold(len(window)):
            return value, False, None
        retained: float | None = None
        if self.rehearsal is not None and recipe.retention:
            retention_loss = self._retention_loss(self.rehearsal)
            retained = self._summed(retention_loss)
            # Both terms count per position: a window of L losses weighs as much as L rehearsed positions.
            loss = loss + recipe.retention * len(window) * retention_loss
        state.step(loss, recipe.learning_rate * self._learning_rate_factor(), value + (retained or 0.0))
        return value, True, retained

    def _learning_rate_factor(self) -> float:
        """By what the schedule multiplies the learning rate: with a linear schedule, the share of the training that is
        left, of its steps if their number ends it, else of its windows."""
        recipe, log = self.resolved.recipe, self.state.log
        if recipe.schedule == "constant":
            return 1.0
        if recipe.max_steps is not None and recipe.max_steps <= self.total_windows:
            return 1 - log.steps / recipe.max_steps
        return 1 - len(log.loss) / self.total_windows

    def _window_loss(self, batch: "_Batch", guided: Tensor | None, window: range) -> Tensor:
        """This process's share of the erasing loss: the sum over the window, the mean over the step's images."""
        recipe = self.resolved.recipe
        if guided is None:
            return self._zero_loss()
        with self._autocast():
            checkpointing = recipe.checkpointing == "layers"
            seen = batch.vq_ids[:, : window.stop]
            states = hidden_states(self.model, batch.targets, seen, checkpointing=checkpointing)
            towards = guided[:, window.start : window.stop]
            losses = position_losses(self.model, states[:, window.start :], towards, recipe.loss)
        return losses.sum(dim=-1).sum() / len(batch.record_ids)

    def _retention_loss(self, rehearsal: RehearsalSet) -> Tensor:
        """This process's share of the retention loss, in nats: the mean over the positions of the rehearsed images."""
        recipe = self.resolved.recipe
        batch = rehearsal.batch(self.seed, self.state.log.steps, recipe.rehearsed_per_step)
        if not (own := self.group.share(batch)):
            return self._zero_loss()
        with self._autocast():
            loss = rehearsal.loss(self.model, own, checkpointing=recipe.checkpointing == "layers")
        return loss * len(own) / len(batch)

    def _zero_loss(self) -> Tensor:
        """A loss whose gradients are 0, for a process without an image in this step: all must sum the same tensors, of
        the same dtypes."""
        zeros = [weight.sum().float() * 0.0 for weight in self.state.adapter.weights]
        return torch.stack(zeros).sum()

    def _summed(self, loss: Tensor) -> float:
        value = loss.detach().clone()
        self.group.sum_([value])
        return value.item()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.state.bfloat16)


@dataclass(slots=True)
class _Batch:
    """The images of a step."""

    record_ids: list[str]
    """Of the pairs of all processes' images."""
    local_pairs: Sequence[TrainingPair]
    """The pairs of this process's images."""
    vq_ids: Tensor
    """int64 [B, T]: the image tokens of this process's images."""
    key: str | None
    """Identifies the images, for ``Teacher``, if they are trained on again in further passes or epochs."""

    @property
    def targets(self) -> list[str]:
        return [pair.target for pair in self.local_pairs]
