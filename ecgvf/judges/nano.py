"""``nano-...``: the judges of Janus-nano's images: three of objects, two of styles, and three of the rest of the scene.

``nano-object-a`` filters and ``nano-object-b`` measures, so that no model is measured by the judge that selected its
data: same architecture, trained apart. ``nano-object-c`` and ``nano-style-b`` share neither architecture nor designers
with the others; ``nano-object-c`` can also see "nothing", a label that no concept accepts unless ``--labels`` says so.
``nano-sky``, ``nano-ground`` and ``nano-companion`` tell whether the scene of a prompt is there, even if its thing is
missing or distorted, as it is in a part of their training images.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ecgvf.core.errors import JudgeError
from ecgvf.core.paths import data_dir
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.judge import Criterion
from ecgvf.judges.weights import file_hash
from ecgvf.world.networks import load_network, preprocess

ATTRIBUTE_JUDGES = {
    "sky": "nano-sky",
    "ground": "nano-ground",
    "companion": "nano-companion",
    "style": "nano-style-b",
}
"""Attribute of the scene → its judge."""

_FIRST = {
    "nano-object-b": "nano-object-a",
    "nano-object-c": "nano-object-a",
    "nano-style-b": "nano-style",
}
"""Judge → the judge whose labels it shares."""


def measuring_judges(filter_judge: str, *, style: bool) -> tuple[str, str]:
    """The judge that measures whether an image shows a style or a thing, and the second judge, which must agree with it
    for the image to show anything.

    The first is not ``filter_judge``, which selected the data, as far as there is a choice.
    """
    if style:
        return "nano-style", "nano-style-b"
    return "nano-object-a" if filter_judge == "nano-object-b" else "nano-object-b", "nano-object-c"


def same_labels(judge: str, other: str) -> bool:
    """Whether labels and bounds mean the same to both judges: they are equal, or nano's judges of the same labels."""
    return _FIRST.get(judge, judge) == _FIRST.get(other, other)


def nano_weights() -> dict[str, str]:
    """Judge of nano's world, without "nano-" → a hash of its weights."""
    files = sorted((data_dir() / "nano" / "judges").glob("*/model.safetensors"))
    return {file.parent.name: file_hash(file) for file in files}


class NanoJudge(Classifier):
    """The judge ``nano-VARIANT``.

    Raises ``JudgeError`` if its weights are missing or damaged, and for an unknown label.
    """

    batch_size = 128

    def __init__(self, variant: str, criterion: Criterion, *, folder: Path | None = None, device: str = "cpu") -> None:
        name = f"nano-{variant}"
        folder = folder if folder is not None else data_dir() / "nano" / "judges" / variant
        self._file = folder / "model.safetensors"
        if not self._file.is_file():
            raise JudgeError(f"the weights of judge {name} are missing from {folder}: install ecgvf again")
        try:
            self._network = load_network(folder)
        except Exception as error:
            raise JudgeError(f"the weights of judge {name} in {folder} are damaged: install ecgvf again") from error
        super().__init__(name, [(label,) for label in self._network.labels], criterion, device)
        self._network.to(self.device)

    @cached_property
    def weights_hash(self) -> str:
        """16 hex digits of the SHA-256 of the weights' file."""
        return file_hash(self._file)

    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        scores: torch.Tensor = self._network(preprocess(pixels))
        return scores.softmax(1)
