"""The training pairs of a dataset, with the image tokens of both images as trajectories."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ear.method.recipe import Trajectory
from ecgvf.core import console
from ecgvf.core.dataset import AcceptedRecord, Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.janus import JanusModel, render_images
from ecgvf.pairs.checks import contains


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
        """The image tokens, int64 [T] each, of the dataset's images along which the prompts are teacher-forced."""
        return {
            "surrogate": [self.surrogate_ids],
            "target": [self.target_ids],
            "both": [self.surrogate_ids, self.target_ids],
        }[which]


def training_pairs(dataset: Dataset, model: JanusModel, limit: int) -> list[TrainingPair]:
    """The first ``limit`` accepted pairs with their image tokens, which are rendered again if the dataset lacks them.

    Raises ``DatasetError`` as ``training_records`` does.
    """
    records = training_records(dataset, model, limit)
    vq_ids = iter(image_tokens(dataset, model, records))
    return [
        TrainingPair(record.pair.record_id, record.pair.target, str(record.pair.surrogate), next(vq_ids), next(vq_ids))
        for record in records
    ]


def training_records(dataset: Dataset, model: JanusModel, limit: int) -> Sequence[AcceptedRecord]:
    """As ``accepted_pairs``. Raises ``DatasetError`` as that does and as ``check_renderer`` does."""
    check_renderer(dataset, model)
    return accepted_pairs(dataset, limit)


def check_renderer(dataset: Dataset, model: JanusModel) -> None:
    """Raise ``DatasetError`` if the images of ``dataset`` are not those of ``model``."""
    if model.fingerprint != dataset.renderer:
        raise DatasetError(
            f"the images of {dataset.concept.name!r} were rendered by {dataset.model} ({dataset.renderer}), "
            f"not by {model.name} ({model.fingerprint}), and EAR needs the model's own images: "
            f"run `ecgvf render --model {model.name}` and `ecgvf filter` first, or omit --model"
        )


def accepted_pairs(dataset: Dataset, limit: int) -> Sequence[AcceptedRecord]:
    """The records of the first ``limit`` accepted pairs; nothing is rendered.

    Raises ``DatasetError`` if there are none, and if one has no surrogate.
    """
    records = dataset.train[:limit]
    if not records:
        raise DatasetError(f"the dataset of {dataset.concept.name!r} has no accepted pair: generate more pairs")
    for record in records:
        if record.pair.surrogate is None or record.surrogate is None:
            raise DatasetError(f"the accepted pair {record.pair.record_id} has no surrogate image: run `ecgvf filter`")
    return records


def image_tokens(dataset: Dataset, model: JanusModel, records: Sequence[AcceptedRecord]) -> list[Tensor]:
    """The image tokens, int64 [T] each, of each record's target and, if it has one, its surrogate, in order.

    Tokens that the dataset lacks are rendered again.
    """
    prompts = {record.pair.record_id: dict(record.pair.prompts()) for record in records}
    renderings = [each for record in records for each in (record.target, record.surrogate) if each is not None]
    missing = [rendering for rendering in renderings if not rendering.vq_ids]
    rendered: dict[tuple[str, str], Tensor] = {}
    if missing:
        console.note(f"the dataset has no image tokens of {console.counted(len(missing), 'image')}, rendered again")
        images = render_images(
            model,
            [prompts[rendering.record_id][rendering.role] for rendering in missing],
            [rendering.seed for rendering in missing],
            dataset.sampling,
        )
        for rendering, vq_ids in zip(missing, images.vq_ids, strict=True):
            rendered[rendering.record_id, rendering.role] = torch.from_numpy(vq_ids)
    return [
        torch.tensor(each.vq_ids, dtype=torch.int64) if each.vq_ids else rendered[each.record_id, each.role]
        for each in renderings
    ]


def report_pairs(datasets: Sequence[Dataset], limit: int) -> None:
    """Note what a user should know before a training on up to ``limit`` pairs of each dataset: that there are fewer,
    and surrogates that the concept's file does not name."""
    for dataset in datasets:
        _report_pairs(dataset, limit)


def _report_pairs(dataset: Dataset, limit: int) -> None:
    concept = dataset.concept
    if (count := len(dataset.train)) < limit:
        console.note(f"training on {console.counted(count, 'pair')} of {concept.name}, all that its dataset has")
    terms = {record.pair.surrogate_term for record in dataset.train[:limit] if record.pair.surrogate_term}
    unknown = sorted(term for term in terms if not any(contains(term, known) for known in concept.surrogates))
    if unknown and concept.kind != "style":
        names = ", ".join(map(repr, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        console.note(f"surrogate prompts name {names}, which the concept's file does not list")
