"""The teacher: the frozen model's outputs along a trajectory, whose states are kept if it is trained on again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ear.method.objective import guided_outputs, teacher_states
from ear.method.recipe import ResolvedRecipe
from ecgvf.janus import JanusModel

MOST_BYTES = 2**30
"""Once the kept states take this many bytes, no more are kept."""


@dataclass(slots=True)
class Teacher:
    """The frozen model under both prompts, for one training.

    Every pass goes over the same images of a dataset, and every epoch over the same rollouts of a round. Their last
    hidden states are kept on the CPU, in the dtype in which they were computed, until they take ``MOST_BYTES``; the
    rest is computed again each time. States are kept because logits are larger: for an image of Janus-Pro-7B, states
    take 4.7 MB (576 tokens of 4,096 bfloat16), twice that with guidance, and float32 logits 38 MB.
    """

    model: JanusModel
    resolved: ResolvedRecipe
    _kept: dict[str, Tensor] = field(default_factory=dict)
    _bytes: int = 0

    def guided(self, targets: Sequence[str], surrogates: Sequence[str], vq_ids: Tensor, key: str | None) -> Tensor:
        """``guided_outputs`` by the recipe's loss and guidance; ``key`` identifies a trajectory that is used again."""
        states = None if key is None else self._kept.get(key)
        if states is None:
            states = teacher_states(self.model, targets, surrogates, vq_ids, guidance=self.resolved.guidance)
            if key is not None:
                self._keep(key, states)
        return guided_outputs(
            self.model, states.to(self.model.device), loss=self.resolved.recipe.loss, guidance=self.resolved.guidance
        )

    def forget(self) -> None:
        """Drop what is kept: a round's rollouts never come again."""
        self._kept.clear()
        self._bytes = 0

    def _keep(self, key: str, states: Tensor) -> None:
        if self._bytes < MOST_BYTES:
            # On a CPU no copy: another memory layout could round the logits otherwise.
            self._kept[key] = states.cpu()
            self._bytes += self._kept[key].untyped_storage().nbytes()
