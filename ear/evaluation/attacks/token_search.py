"""Token search: words after every prompt, searched until images of the concept are likely.

Greedy coordinate gradient: Zou et al., Universal and Transferable Adversarial Attacks on Aligned Language Models,
https://arxiv.org/abs/2307.15043. Gradients propose tokens, and a candidate that raises the likelihood replaces the best
one at once. What is found is text that anybody can type.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ear.evaluation.attacks.attack import Example, OptimisedAttack, image_loss
from ecgvf.core import seeds
from ecgvf.core.errors import SettingsError
from ecgvf.janus import JanusModel, generation_ids, soft_prompt

LENGTH, BATCH = 8, 4
PROPOSED = 32
"""Tokens at each position that the gradient proposes."""
GRADIENT_EVERY = 16
"""Candidates between two gradients."""
DRAWS = 50
"""Draws in search of a candidate whose text is read as its tokens, after every example's prompt."""
FIRST_DRAWS = 50 * DRAWS
"""The same for the first suffix, which is drawn as a whole."""


class TokenSearch(OptimisedAttack):
    """A suffix of ``LENGTH`` tokens, the same for every prompt; it starts with random tokens."""

    kind = "token-search"
    unit = "candidates"
    default_budget = 256
    examples_used = BATCH
    settings: ClassVar[dict[str, Any]] = {
        "length": LENGTH,
        "batch": BATCH,
        "proposed": PROPOSED,
        "gradient_every": GRADIENT_EVERY,
        "draws": DRAWS,
    }

    def __init__(self, model: JanusModel, examples: Sequence[Example], seed: int) -> None:
        super().__init__(model, examples, seed)
        self._tokenizer = model.processor.tokenizer
        special = set(self._tokenizer.added_tokens_encoder.values())
        # The embedding may have rows beyond the vocabulary.
        allowed = [token for token in range(len(self._tokenizer)) if token not in special]
        self._allowed = torch.tensor(allowed)
        self._best = self._first()
        self._loss = float("inf")
        self._proposed = torch.zeros(LENGTH, PROPOSED, dtype=torch.int64)

    def step(self, number: int) -> float:
        if number % GRADIENT_EVERY == 0:
            self._proposed = self._propose()
        candidate = self._best if number == 0 else self._candidate(number)
        model = _with_suffix(self.model, self._text(candidate))
        with torch.no_grad():
            loss = image_loss(model, [example.prompt for example in self.examples], self.examples).item()
        if loss < self._loss:
            self._best, self._loss = candidate, loss
        return self._loss

    def state(self) -> dict[str, Any]:
        return {"best": self._best, "loss": self._loss, "proposed": self._proposed}

    def restore(self, state: dict[str, Any]) -> None:
        self._best, self._proposed, self._loss = state["best"], state["proposed"], state["loss"]

    def active(self, model: JanusModel) -> AbstractContextManager[JanusModel]:
        return nullcontext(_with_suffix(model, self._text(self._best)))

    def found(self) -> str:
        return self._text(self._best)

    def _propose(self) -> Tensor:
        """Indices in the allowed tokens, int64 [LENGTH, PROPOSED], that a linear model of the loss likes best."""
        table = self.model.language_model.embed_tokens.weight.detach()
        tokens = self._allowed[self._best].to(table.device)
        vectors = table[tokens].float().clone().requires_grad_(True)
        with soft_prompt(self.model, vectors) as model:
            loss = image_loss(model, [example.prompt for example in self.examples], self.examples)
        (gradient,) = torch.autograd.grad(loss, vectors)
        scores = -gradient @ table[self._allowed.to(table.device)].float().T
        best: Tensor = scores.topk(min(PROPOSED, scores.shape[1]), dim=-1).indices.cpu()
        return best

    def _first(self) -> Tensor:
        """Random tokens. Raises ``SettingsError`` if no draw can be typed."""
        everything = torch.arange(len(self._allowed)).expand(LENGTH, -1)
        found = self._drawn(-1, torch.zeros(LENGTH, dtype=torch.int64), everything, LENGTH, FIRST_DRAWS)
        if found is None:
            raise SettingsError(
                f"--kind {self.kind}: the tokenizer reads none of {FIRST_DRAWS:,} random suffixes as the tokens that "
                "it was made of: choose another attack"
            )
        return found

    def _candidate(self, number: int) -> Tensor:
        """The best suffix with another token, which the gradient proposes; without another if no draw can be typed."""
        found = self._drawn(number, self._best, self._proposed, 1, DRAWS)
        return self._best if found is None else found

    def _drawn(self, number: int, best: Tensor, proposed: Tensor, positions: int, draws: int) -> Tensor | None:
        """``best`` with other tokens at ``positions`` positions, whose text is read as these tokens; None if none of
        ``draws`` is."""
        generator = torch.Generator().manual_seed(seeds.derive(self.seed, str(number), self.kind))
        for _ in range(draws):
            candidate = best.clone()
            for position in torch.randperm(LENGTH, generator=generator)[:positions].tolist():
                drawn = torch.randint(proposed.shape[1], (), generator=generator)
                candidate[position] = proposed[position, drawn]
            if self._is_read_as(candidate):
                return candidate
        return None

    def _is_read_as(self, candidate: Tensor) -> bool:
        """Whether its text has its tokens after the prompt of every example."""
        text = self._text(candidate)
        whole, _ = generation_ids(self.model, [example.prompt + text for example in self.examples])
        tokens = self._allowed[candidate].to(whole.device)
        return bool((whole.unfold(1, LENGTH, 1) == tokens).all(dim=-1).any(dim=-1).all())

    def _text(self, candidate: Tensor) -> str:
        text: str = self._tokenizer.decode(self._allowed[candidate].tolist())
        return text


def _with_suffix(model: JanusModel, suffix: str) -> JanusModel:
    defended = model.rewrite or (lambda prompt: prompt)
    return replace(model, rewrite=lambda prompt: defended(prompt + suffix))
