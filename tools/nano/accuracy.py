"""What nano's judges see in images, and how often they are right."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgvf.judges import Criterion
from ecgvf.judges.nano import NanoJudge


def predictions(judge: NanoJudge, images: NDArray[np.uint8]) -> NDArray[np.str_]:
    """The judge's top label for each image, ``[N]``."""
    labels: NDArray[np.str_] = np.array(judge.labels)[judge.probabilities(images).argmax(1)]
    return labels


def held_out_accuracy(
    name: str,
    folder: Path,
    images: NDArray[np.uint8],
    truth: Sequence[str | None],
    groups: Sequence[str],
    names: Iterable[str],
) -> dict[str, float]:
    """The share of images of which the judge `name` in `folder` predicts the `truth`: in all, and in each group of
    `names`. `groups` has the group of each image."""
    correct = predictions(NanoJudge(name, Criterion.top1(), folder=folder / name), images) == np.array(truth)
    by_group = {each: round(float(correct[np.array(groups) == each].mean()), 4) for each in names}
    return {"held_out_accuracy": round(float(correct.mean()), 4), **by_group, "n": len(images)}
