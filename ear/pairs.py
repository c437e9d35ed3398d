"""A dataset by name → training pairs with their trajectories. Nothing is drawn again."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ear.recipe import Trajectory
from ecgvf.concepts import NAME
from ecgvf.errors import DatasetError
from ecgvf.janus import JanusModel
from ecgvf.judges import dataset as datasets
from ecgvf.judges.dataset import Dataset
from ecgvf.store import Store

STORE_PREFIX = "ecgvf/"


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


def open_dataset(store: Store, name: str, chosen: str | None = None) -> Dataset:
    """The dataset ``ecgvf/CONCEPT`` of this store, of its current set or the one that starts with ``chosen``.

    Raises ``DatasetError`` for other names, ``StageMissing`` where the store has no such dataset.
    """
    return datasets.load(store, concept_of(name), chosen)


def concept_of(name: str) -> str:
    """The concept that a dataset's name ends with. Raises ``DatasetError`` for a name that is none."""
    concept = name.removeprefix(STORE_PREFIX)
    if not name.startswith(STORE_PREFIX) or not NAME.fullmatch(concept):
        raise DatasetError(
            f"unknown dataset {name!r}: name one of this store as ecgvf/CONCEPT, such as ecgvf/church "
            "(files and the Hub, hub:OWNER/REPO/CONCEPT, are not read by this version)"
        )
    return concept


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
