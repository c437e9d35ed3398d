"""The interface of a judge: a criterion, and a prediction for each image."""

from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ecgvf.core.records import Box

TOP_LABELS = 5
"""Labels of a classifier that are kept in a prediction, at least."""

LABEL_ADVICE = (
    "name labels with --labels, or correct the judge_labels in the concept's file (a store takes them with `ecgvf "
    "generate --concept FILE`)"
)
"""What to do about a concept's labels that a judge lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """When a judge sees the concept. It is part of a verdict set's settings, so another criterion opens another set."""

    label_set: str
    """Name of the labels: "imagenet", "nudenet-strict", ...; "given" for labels from the command line."""
    accepted: tuple[str, ...]
    """Labels that mean that the concept is present. Empty for a judge that only reports what it sees."""
    near: tuple[str, ...] = ()
    """Labels to report as near misses; never accepted."""
    against: tuple[str, ...] = ()
    """Texts that a zero-shot judge contrasts with the accepted ones."""
    top_k: int | None = None
    """An accepted label must be among the top k; None if a judge does not rank labels."""
    threshold: float | None = None
    """Minimum score, in [0, 1]; None for no bound."""

    @classmethod
    def top1(cls, *labels: str) -> Self:
        """One of ``labels`` must come first, with any probability."""
        return cls(label_set="given", accepted=labels, top_k=1)

    def near_miss(self, top_labels: tuple[tuple[str, float], ...]) -> str | None:
        """The best near label among the top k of ``top_labels`` (all, if the judge does not rank), if any."""
        return next((label for label, _ in top_labels[: self.top_k] if label in self.near), None)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a judge sees in one image."""

    present: bool
    """Whether the concept is present, by the judge's criterion."""
    score: float
    """In [0, 1]: the total probability of the accepted labels, or a detector's best box of an accepted label."""
    top_labels: tuple[tuple[str, float], ...]
    """(label, score), best first."""
    boxes: tuple[Box, ...] = ()
    """A detector's boxes, best first."""


class Judge(Protocol):
    """Classifies images by one criterion."""

    @property
    def name(self) -> str:
        """Its name in ``--judge`` and in verdicts."""

    @property
    def weights_hash(self) -> str:
        """A hash of the weights, and of what else decides the answers, apart from the criterion and the code.

        Other weights or labels must have another one, so that their verdicts go into another set.
        """

    @property
    def criterion(self) -> Criterion:
        """When the judge sees the concept."""

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        """One prediction per image of RGB uint8 [N, H, W, 3].

        An image that raises ``OSError``, ``ValueError`` or ``RuntimeError`` is rejected (``judge_failed``); any other
        error ends the run. PyTorch's errors of a failing GPU end it, too; a judge that uses another library raises
        ``DeviceFailed`` itself.
        """


def settings(judge: Judge) -> dict[str, Any]:
    """The settings of a judge's verdicts, as JSON: its name, the hash of its weights, its criterion."""
    criterion = asdict(judge.criterion)
    return {
        "judge": judge.name,
        "judge_hash": judge.weights_hash,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in criterion.items()},
    }
