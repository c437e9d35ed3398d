"""The teacher: what the frozen model says along a trajectory, kept for further passes if they have it again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ear.method.objective import guided_outputs, teacher_states
from ear.method.recipe import ResolvedRecipe
from ecgvf.janus import JanusModel

MOST_BYTES = 2**30
"""Bytes of kept states from which no more are kept."""


@dataclass(slots=True)
class Teacher:
    """The frozen model under both prompts, for one training.

    Last hidden states along the dataset's images, which every pass repeats, are kept on the CPU, in the dtype in which
    they were computed, until they take ``MOST_BYTES``; the rest is computed again in each pass. States and not logits,
    which are V wide: of an image of Janus-Pro-7B they take 4.7 MB (576 tokens of 4,096 bfloat16), twice that with
    guidance, and its float32 logits 38 MB.
    """

    model: JanusModel
    resolved: ResolvedRecipe
    _kept: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    _bytes: int = 0

    def guided(
        self, targets: Sequence[str], surrogates: Sequence[str], vq_ids: Tensor, key: tuple[str, int] | None
    ) -> Tensor:
        """``guided_target`` of the recipe. ``key`` names the trajectory if it comes again."""
        states = None if key is None else self._kept.get(key)
        if states is None:
            states = teacher_states(self.model, targets, surrogates, vq_ids, guidance=self.resolved.guidance)
            if key is not None:
                self._keep(key, states)
        return guided_outputs(
            self.model, states.to(self.model.device), loss=self.resolved.recipe.loss, guidance=self.resolved.guidance
        )

    def _keep(self, key: tuple[str, int], states: Tensor) -> None:
        if self.resolved.recipe.passes > 1 and self._bytes < MOST_BYTES:
            # On a CPU no copy: another memory layout could round the logits otherwise.
            self._kept[key] = states.cpu()
            self._bytes += self._kept[key].untyped_storage().nbytes()
