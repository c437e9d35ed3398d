"""What a judge is: a classifier that looks at pictures and says whether the concept is there."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ecgvf.errors import JudgeError

TOP = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """What a judge saw in one picture."""

    present: bool
    score: float
    """In [0, 1]: the probability of the accepted labels together."""
    top_labels: tuple[tuple[str, float], ...]
    """(label, probability), best first."""


class Judge(Protocol):
    """Looks for one concept."""

    @property
    def name(self) -> str:
        """As ``--judge`` names it."""

    @property
    def weights_hash(self) -> str:
        """Hash of the weights that looked."""

    @property
    def accepted(self) -> tuple[str, ...]:
        """The labels that mean that the concept is there."""

    def look(self, images: NDArray[np.uint8]) -> list[Reading]:
        """One reading per picture of RGB uint8 [N, H, W, 3]."""


def top_1(probabilities: NDArray[np.float32], labels: Sequence[str], accepted: Sequence[str]) -> list[Reading]:
    """Readings of [N, len(labels)] probabilities: the concept is there where the best label is an accepted one."""
    wanted = [place for place, label in enumerate(labels) if label in set(accepted)]
    readings = []
    for row in probabilities:
        best = np.argsort(-row, kind="stable")[:TOP]
        readings.append(
            Reading(
                present=int(best[0]) in wanted,
                score=float(min(1.0, row[wanted].sum())),
                top_labels=tuple((labels[place], float(row[place])) for place in best),
            )
        )
    return readings


def check_labels(judge: str, labels: Sequence[str], accepted: Sequence[str]) -> None:
    """Raises ``JudgeError`` where no label is accepted, or one that the judge does not know."""
    if not accepted:
        raise JudgeError(f"judge {judge} has no label for this concept: name one in the concept's judge_labels")
    for label in accepted:
        if label not in labels:
            near = ", ".join(difflib.get_close_matches(label, labels, n=3, cutoff=0.5))
            raise JudgeError(
                f"judge {judge} has no label {label!r}: correct the concept's judge_labels"
                + (f" (near ones: {near})" if near else "")
            )
