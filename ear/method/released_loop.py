"""The steps of the loop that the paper's authors released, faults included; `--recipe published`.

The frozen model samples three images side by side: of the target prompt (positive), and twice of the surrogate prompt
(neutral, guided); the tuned model gets what the first gets. Each forward pass has one token and no context, so that
from the second on a state depends on that token alone. ear/method/steps.py has the same objective with context.

Its facts: https://arxiv.org/abs/2506.20151 and its code; docs/decisions/0018-recipes.md lists where both differ.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ear.method.objective import windows
from ear.method.recipe import ResolvedRecipe
from ear.method.rounds import Round
from ear.method.state import TrainingState
from ecgvf.janus import JanusModel, Sampling, layers, logits
from ecgvf.janus.sampling import apply_guidance, processed_logits


@dataclass(slots=True)
class ReleasedSteps:
    """Takes the steps of a training as the released loop does; the counterpart of ``WindowSteps``."""

    model: JanusModel
    resolved: ResolvedRecipe
    sampling: Sampling
    """Guidance and temperature of the streams: 5 and 1 for Janus-Pro, as released."""
    state: TrainingState
    on_window: Callable[[TrainingState], object]

    def train_round(self, round_: Round) -> None:
        """Train on all windows of a pair of prompts; the dataset's images are not used."""
        (pair,) = round_.pairs
        recipe, state = self.resolved.recipe, self.state
        target = self._prompt(pair.target)
        surrogate = self._prompt(pair.surrogate, length=target.shape[1])
        positive, neutral, guided_stream = target, surrogate, surrogate
        ends = {window.stop: number for number, window in enumerate(self._windows())}
        losses = torch.zeros((), dtype=self.model.dtype, device=self.model.device)
        length = 0
        for position in range(1, self.resolved.tokens + 1):
            with torch.no_grad():
                states = [self._states(inputs) for inputs in (positive, neutral, guided_stream)]
                guided = states[2] - self.resolved.guidance * (states[0] - states[1])
            with state.adapter.active(self.model):
                tuned = self._states(positive)
            losses = losses + torch.nn.functional.mse_loss(tuned, guided)
            length += 1
            if position in ends:
                value = losses.item()
                step = not value <= self.resolved.threshold(length)  # a NaN loss must not pass for erased
                if step:
                    state.step(losses, recipe.learning_rate, value)
                state.log.add(pair.record_id, ends[position], value, step)
                self.on_window(state)
                if state.finished(recipe):
                    return
                losses, length = torch.zeros_like(losses), 0
            positive, neutral, guided_stream = (self._next(stream[:, -1]) for stream in states)

    def _windows(self) -> list[range]:
        return list(windows(self.resolved.tokens, self.resolved.window, self.resolved.recipe.tail))

    def _prompt(self, prompt: str, length: int | None = None) -> Tensor:
        """Embeddings [2, S, C] of the bare prompt and of its unconditional row.

        ``length``: cut the ids, or pad them on the right, to this many; no mask hides the padding.
        """
        tokenizer = self.model.processor.tokenizer
        ids: list[int] = tokenizer.encode(prompt)
        if length is not None:
            ids = [*ids[:length], *[tokenizer.pad_token_id] * (length - len(ids))]
        unconditional = [ids[0], *[tokenizer.pad_token_id] * (len(ids) - 2), ids[-1]]
        embeddings: Tensor = self.model.language_model.embed_tokens(
            torch.tensor([ids, unconditional], device=self.model.device)
        )
        return embeddings

    def _states(self, embeddings: Tensor) -> Tensor:
        """Last hidden states [2, S, C] of embeddings [2, S, C] without anything before them, from position 0."""
        positions = torch.arange(embeddings.shape[1], device=embeddings.device)[None]
        language_model = self.model.language_model
        return layers.forward(language_model, embeddings, language_model.rotary_emb(embeddings, positions), None)

    @torch.no_grad()
    def _next(self, states: Tensor) -> Tensor:
        """A stream's whole next input [2, 1, C]: the embedding of one sampled token, alike in both rows.

        ``states`` [2, C] are those of the stream's last position.
        """
        guided = apply_guidance(logits(self.model, states), self.sampling.guidance)
        probabilities = processed_logits(guided, self.sampling).to(guided.dtype).softmax(dim=-1)
        token = torch.multinomial(probabilities, 1, generator=self.state.generator)
        # Alone, as released: a row of ``image_token_embeddings`` may differ in its last bit.
        embedding: Tensor = self.model.model.prepare_embeddings_for_image_generation(token)
        return embedding.expand(2, -1, -1)
