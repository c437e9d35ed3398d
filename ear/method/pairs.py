"""A dataset → training pairs with their trajectories. Nothing is drawn again."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ear.method.recipe import Trajectory
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.janus import JanusModel


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """One accepted pair: two prompts that differ by the concept, and the pictures the frozen model drew of them."""

    record_id: str
    target: str
    surrogate: str
    target_ids: Tensor
    """int64 [T]: the image tokens of the target's picture."""
    surrogate_ids: Tensor

    def trajectories(self, which: Trajectory) -> list[Tensor]:
        """The pictures that the prompts are teacher-forced on."""
        return {
            "surrogate": [self.surrogate_ids],
            "target": [self.target_ids],
            "both": [self.surrogate_ids, self.target_ids],
        }[which]


def training_pairs(dataset: Dataset, model: JanusModel, most: int) -> list[TrainingPair]:
    """The first ``most`` accepted pairs. Raises ``DatasetError`` where another model drew them, or there are none."""
    if model.fingerprint != dataset.renderer:
        raise DatasetError(
            f"the pictures of {dataset.concept.name!r} were drawn by {dataset.model} ({dataset.renderer}), "
            f"not by {model.name} ({model.fingerprint}), whose own pictures EAR needs: "
            f"run `ecgvf render --model {model.name}` and `ecgvf filter` first, or leave --model out"
        )
    pairs = []
    for record in dataset.train[:most]:
        if record.pair.surrogate is None or record.surrogate is None:
            raise DatasetError(
                f"the accepted pair {record.pair.record_id} has no surrogate picture: run `ecgvf filter`"
            )
        pairs.append(
            TrainingPair(
                record_id=record.pair.record_id,
                target=record.pair.target,
                surrogate=record.pair.surrogate,
                target_ids=torch.tensor(record.target.vq_ids, dtype=torch.int64),
                surrogate_ids=torch.tensor(record.surrogate.vq_ids, dtype=torch.int64),
            )
        )
    if not pairs:
        raise DatasetError(f"the dataset of {dataset.concept.name!r} has no accepted pair: generate more of them")
    return pairs
