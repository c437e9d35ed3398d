"""What every judge that classifies shares: names of its classes, batches, and the top-k rule over probabilities."""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ecgvf.core.errors import JudgeError
from ecgvf.judges.judge import Criterion, Prediction

TOP = 5


class Classifier(ABC):
    """A judge that gives every class a probability, and sees the concept where an accepted class is among the best.

    ``classes`` are the names of each class, the first of which is shown and all of which are understood ("beacon",
    "lighthouse"); case does not matter. Plain labels as ``wanted`` mean top-1. Raises ``JudgeError`` for labels that it
    does not know.
    """

    batch: int = 32
    """Pictures that go through the network together."""

    def __init__(
        self,
        name: str,
        classes: Sequence[Sequence[str]],
        wanted: Criterion | tuple[str, ...],
        device: torch.device | None = None,
    ) -> None:
        self.name = name
        self.labels: tuple[str, ...] = tuple(names[0] for names in classes)
        asked = wanted if isinstance(wanted, Criterion) else Criterion(label_set="given", accepted=wanted, top_k=1)
        self.device = device if device is not None else torch.device("cpu")
        self._accepted = places(name, classes, asked.accepted)
        # Near misses are recognised among the labels that are shown, so they are kept under their shown names.
        # One that this judge does not have it cannot see; the concept's file lists them for several.
        known = {name.casefold() for names in classes for name in names}
        seen = [label for label in asked.near if label.casefold() in known]
        near = tuple(self.labels[place] for place in places(name, classes, seen))
        self.criterion = replace(asked, near=near)

    @property
    @abstractmethod
    def weights_hash(self) -> str:
        """Hash of the weights that looked."""

    @abstractmethod
    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Float [N, len(labels)] for one batch of RGB uint8 [N, H, W, 3]."""

    @torch.inference_mode()
    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, len(labels)] for RGB uint8 [N, H, W, 3]: one pass that serves many concepts.

        Raises ``RuntimeError`` where a network answers with something that is no number.
        """
        rows = [
            self._probabilities(images[start : start + self.batch]).float().cpu().numpy()
            for start in range(0, len(images), self.batch)
        ]
        found = np.concatenate([np.zeros((0, len(self.labels)), np.float32), *rows])
        if not np.isfinite(found).all():
            raise RuntimeError(f"judge {self.name} answered with what is no number: its weights, or its dtype, are off")
        return found

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        """One reading per picture of RGB uint8 [N, H, W, 3]."""
        return readings(self.probabilities(images), self.labels, self._accepted, self.criterion)


def readings(
    probabilities: NDArray[np.float32], labels: Sequence[str], accepted: Sequence[int], criterion: Criterion
) -> list[Prediction]:
    """Readings of [N, len(labels)] probabilities, where ``accepted`` are the places of the accepted labels."""
    found = []
    for row in probabilities:
        best = np.argsort(-row, kind="stable")
        score = float(min(1.0, row[list(accepted)].sum()))
        ranked = criterion.top_k is None or not set(accepted).isdisjoint(best[: criterion.top_k].tolist())
        found.append(
            Prediction(
                present=bool(accepted) and ranked and score >= (criterion.threshold or 0.0),
                score=score,
                top_labels=tuple(
                    (labels[place], float(row[place])) for place in best[: max(TOP, criterion.top_k or 0)]
                ),
            )
        )
    return found


def places(judge: str, classes: Sequence[Sequence[str]], wanted: Sequence[str]) -> list[int]:
    """The classes that ``wanted`` names, in their order, each once. Raises ``JudgeError`` naming near ones."""
    known: dict[str, list[int]] = {}
    for place, names in enumerate(classes):
        for name in names:
            known.setdefault(name.casefold(), []).append(place)
    found: dict[int, None] = {}
    for label in wanted:
        here = known.get(label.casefold(), [])
        if not here:
            near = ", ".join(difflib.get_close_matches(label.casefold(), known, n=3, cutoff=0.5))
            raise JudgeError(
                f"judge {judge} has no label {label!r}: correct the concept's judge_labels, or --labels"
                + (f" (near ones: {near})" if near else "")
            )
        if len(here) > 1:
            exact = [place for place in here if classes[place][0].casefold() == label.casefold()]
            if len(exact) != 1:
                raise JudgeError(
                    f"judge {judge} has {len(here)} classes that are called {label!r}: name the one you mean by "
                    f"another of its names: {' | '.join(', '.join(classes[place]) for place in here)}"
                )
            here = exact
        found[here[0]] = None
    return list(found)
