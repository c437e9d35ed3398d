"""The training pairs of a dataset, with the image tokens of both images as trajectories."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat

import torch
from torch import Tensor

from ear.method.recipe import Trajectory
from ear.method.stored_tokens import TokenTask, render_tokens
from ecgvf.core import console
from ecgvf.core.dataset import AcceptedRecord, Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import Stage
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel
from ecgvf.pairs.checks import contains

STAGE = Stage("trajectories", "ear train")


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """An accepted pair: two prompts that differ by the concept, and the frozen model's images of them."""

    record_id: str
    target: str
    surrogate: str
    target_ids: Tensor
    """int64 [T]: the image tokens of the target's image; empty if the recipe does not train along it."""
    surrogate_ids: Tensor
    """int64 [T]: the image tokens of the surrogate's image, likewise."""

    def trajectories(self, which: Trajectory) -> list[Tensor]:
        """The image tokens, int64 [T] each, of the dataset's images along which the prompts are teacher-forced."""
        return {
            "surrogate": [self.surrogate_ids],
            "target": [self.target_ids],
            "both": [self.surrogate_ids, self.target_ids],
        }[which]


def training_pairs(
    store: Store, dataset: Dataset, model: JanusModel, limit: int, *, images: bool = True
) -> list[TrainingPair]:
    """The first ``limit`` accepted pairs with their image tokens, which are rendered again if the dataset lacks them.

    Without ``images``, no image has tokens, and nothing is rendered.

    Raises ``DatasetError`` as ``training_records`` and ``image_tokens`` do.
    """
    records = training_records(dataset, model, limit)
    none = torch.empty(0, dtype=torch.int64)
    vq_ids: Iterator[Tensor] = iter(image_tokens(store, dataset, model, records)) if images else repeat(none)
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


def image_tokens(store: Store, dataset: Dataset, model: JanusModel, records: Sequence[AcceptedRecord]) -> list[Tensor]:
    """The image tokens, int64 [T] each, of each record's target and, if it has one, its surrogate, in order.

    Tokens that the dataset lacks are rendered again, into ``store``. Raises ``DatasetError`` for a prompt that cannot
    be rendered.
    """
    prompts = {record.pair.record_id: dict(record.pair.prompts()) for record in records}
    renderings = [each for record in records for each in (record.target, record.surrogate) if each is not None]
    missing = [TokenTask(prompts[each.record_id][each.role], each.seed) for each in renderings if not each.vq_ids]
    rendered = iter(_rendered(store, dataset, model, missing) if missing else ())
    return [torch.tensor(each.vq_ids, dtype=torch.int64) if each.vq_ids else next(rendered) for each in renderings]


def _rendered(store: Store, dataset: Dataset, model: JanusModel, tasks: Sequence[TokenTask]) -> Tensor:
    """The image tokens of ``tasks``, int64 [N, T], rendered into a set of the store unless it has them."""
    settings = {
        "model": model.fingerprint,
        "dtype": model.dtype_name,
        "sampling": asdict(dataset.sampling),
        "images": [[task.prompt, task.seed] for task in tasks],
    }
    stage_set = ConceptRun(store, dataset.concept).stage_set(STAGE, settings)
    if not stage_set.finished:
        console.note(f"the dataset has no image tokens of {console.counted(len(tasks), 'image')}, rendered again")
    return render_tokens(stage_set, model, dataset.sampling, tasks, "rendering image tokens")


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
