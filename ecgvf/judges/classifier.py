"""The base class of judges that rank labels: class names, batches, and the top-k rule over probabilities."""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecgvf.core.device import resolve_device
from ecgvf.core.errors import JudgeError
from ecgvf.core.files import JSON
from ecgvf.judges.judge import LABEL_ADVICE, TOP_LABELS, Criterion, Prediction
from ecgvf.judges.weights import state_hash


class Classifier(ABC):
    """A judge with a probability for every class. It sees the concept if an accepted class is among the top k.

    ``classes`` has the names of each class ("beacon", "lighthouse"): the first is reported, all are accepted in a
    criterion, and case does not matter. ``device`` is "auto", "cpu", "cuda" or "cuda:N".
    Raises ``JudgeError`` for an unknown label, ``SettingsError`` for an unavailable device.
    """

    batch_size: int = 32
    """Images per forward pass."""
    _network: Any
    _settings: JSON
    """What decides the answers, apart from the network's tensors and the code."""

    def __init__(self, name: str, classes: Sequence[Sequence[str]], criterion: Criterion, device: str = "cpu") -> None:
        self.name = name
        self.labels: tuple[str, ...] = tuple(names[0] for names in classes)
        self.device = resolve_device(device)
        self._accepted = class_indices(name, classes, criterion.accepted)
        self._indices = {each.casefold(): index for index, names in reversed([*enumerate(classes)]) for each in names}
        # Near labels are compared with reported ones, so they are kept under their reported names. A concept's file
        # lists them for several judges; this one ignores those that it does not have.
        known = {name.casefold() for names in classes for name in names}
        near = [label for label in criterion.near if label.casefold() in known]
        near_labels = tuple(self.labels[index] for index in class_indices(name, classes, near))
        self.criterion = replace(criterion, near=near_labels)

    @cached_property
    def weights_hash(self) -> str:
        """Hash of the network's tensors, wherever they came from, and of what else decides the answers."""
        return state_hash(self._network.state_dict(), self._settings)

    def class_index(self, label: str) -> int | None:
        """The class that ``label`` names, the first if several share it; None if there is none."""
        return self._indices.get(label.casefold())

    @abstractmethod
    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Float [N, len(labels)] for one batch of RGB uint8 [N, H, W, 3]."""

    @torch.inference_mode()
    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, len(labels)] in [0, 1] for RGB uint8 [N, H, W, 3]: one pass that serves many concepts.

        Raises ``RuntimeError`` if the network returns NaN or infinity.
        """
        batches = [
            self._probabilities(images[start : start + self.batch_size]).float().cpu().numpy()
            for start in range(0, len(images), self.batch_size)
        ]
        probabilities = np.concatenate([np.zeros((0, len(self.labels)), np.float32), *batches])
        if not np.isfinite(probabilities).all():
            raise RuntimeError(f"judge {self.name} returned NaN or infinity: check its weights and dtype")
        return probabilities

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        """One prediction per image of RGB uint8 [N, H, W, 3]."""
        return [
            top_k_prediction(row, self.labels, self._accepted, self.criterion) for row in self.probabilities(images)
        ]


def top_k_prediction(
    probabilities: NDArray[np.float32], labels: Sequence[str], accepted: Sequence[int], criterion: Criterion
) -> Prediction:
    """The prediction of one image's probabilities, float [len(labels)]; ``accepted`` are indices of labels."""
    ranking = np.argsort(-probabilities, kind="stable")
    score = float(min(1.0, probabilities[list(accepted)].sum()))
    in_top_k = criterion.top_k is None or not set(accepted).isdisjoint(ranking[: criterion.top_k].tolist())
    top = ranking[: max(TOP_LABELS, criterion.top_k or 0)]
    return Prediction(
        present=bool(accepted) and in_top_k and score >= (criterion.threshold or 0.0),
        score=score,
        top_labels=tuple((labels[index], float(probabilities[index])) for index in top),
    )


def class_indices(judge: str, classes: Sequence[Sequence[str]], labels: Sequence[str]) -> list[int]:
    """The indices of the classes that ``labels`` name, in their order, each once.

    Raises ``JudgeError`` for an unknown label, with suggestions, and for one that several classes share.
    """
    known: dict[str, list[int]] = {}
    for index, names in enumerate(classes):
        for name in names:
            known.setdefault(name.casefold(), []).append(index)
    indices: dict[int, None] = {}
    for label in labels:
        matches = known.get(label.casefold(), [])
        if not matches:
            similar = ", ".join(difflib.get_close_matches(label.casefold(), known, n=3, cutoff=0.5))
            found = f" (similar: {similar})" if similar else ""
            raise JudgeError(f"judge {judge} has no label {label!r}{found}: {LABEL_ADVICE}")
        if len(matches) > 1:
            exact = [index for index in matches if classes[index][0].casefold() == label.casefold()]
            if len(exact) != 1:
                raise JudgeError(
                    f"judge {judge} has {len(matches)} classes named {label!r}: use another name of the class "
                    f"you mean: {' | '.join(', '.join(classes[index]) for index in matches)}"
                )
            matches = exact
        indices[matches[0]] = None
    return list(indices)
