"""The training pairs of a dataset, with the image tokens of both images as trajectories."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ear.method.recipe import Trajectory
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.janus import JanusModel


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """An accepted pair: two prompts that differ by the concept, and the frozen model's images of them."""

    record_id: str
    target: str
    surrogate: str
    target_ids: Tensor
    """int64 [T]: the image tokens of the target's image."""
    surrogate_ids: Tensor
    """int64 [T]: the image tokens of the surrogate's image."""

    def trajectories(self, which: Trajectory) -> list[Tensor]:
        """The image tokens, int64 [T] each, on which the prompts are teacher-forced."""
        return {
            "surrogate": [self.surrogate_ids],
            "target": [self.target_ids],
            "both": [self.surrogate_ids, self.target_ids],
        }[which]


def training_pairs(dataset: Dataset, model: JanusModel, limit: int) -> list[TrainingPair]:
    """The first ``limit`` accepted pairs.

    Raises ``DatasetError`` if there are none, or if their images are not those of ``model``.
    """
    if model.fingerprint != dataset.renderer:
        raise DatasetError(
            f"the images of {dataset.concept.name!r} were rendered by {dataset.model} ({dataset.renderer}), "
            f"not by {model.name} ({model.fingerprint}), and EAR needs the model's own images: "
            f"run `ecgvf render --model {model.name}` and `ecgvf filter` first, or omit --model"
        )
    pairs = []
    for record in dataset.train[:limit]:
        if record.pair.surrogate is None or record.surrogate is None:
            raise DatasetError(f"the accepted pair {record.pair.record_id} has no surrogate image: run `ecgvf filter`")
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
        raise DatasetError(f"the dataset of {dataset.concept.name!r} has no accepted pair: generate more pairs")
    return pairs
