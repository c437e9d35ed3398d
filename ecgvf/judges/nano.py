"""The judges of Janus-nano's pictures: two of things, of equal architecture and other training, and one of styles.

``object-a`` filters; ``object-b`` measures, so that no model is measured by the judge that chose its data.
"""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ecgvf.errors import JudgeError
from ecgvf.judges.judge import Reading, check_labels, top_1
from ecgvf.judges.nano_resnet import NanoResNet, probabilities
from ecgvf.paths import data_dir

FAMILY = ("object-a", "object-b", "style")


class NanoJudge:
    """One of nano's judges, looking for the ``accepted`` labels by top-1.

    Raises ``JudgeError`` for weights that are missing or damaged and for labels that the judge does not know.
    """

    def __init__(self, which: str, accepted: tuple[str, ...], *, folder: Path | None = None) -> None:
        self.name = f"nano-{which}"
        self.accepted = accepted
        self._folder = folder if folder is not None else data_dir() / "nano" / "judges" / which
        if not (self._folder / "model.safetensors").is_file():
            raise JudgeError(f"the weights of judge {self.name} are missing from {self._folder}: install ecgvf again")
        try:
            self._network = NanoResNet.load(self._folder)
        except Exception as error:
            raise JudgeError(
                f"the weights of judge {self.name} in {self._folder} are damaged: install ecgvf again"
            ) from error
        self.labels: tuple[str, ...] = tuple(self._network.labels)
        check_labels(self.name, self.labels, accepted)

    @cached_property
    def weights_hash(self) -> str:
        """16 hex digits of the SHA-256 of the weights' file."""
        return hashlib.sha256((self._folder / "model.safetensors").read_bytes()).hexdigest()[:16]

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, len(labels)] for RGB uint8 [N, H, W, 3]: one pass that serves many concepts."""
        if not len(images):
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        seen: NDArray[np.float32] = probabilities(self._network, torch.from_numpy(np.ascontiguousarray(images))).numpy()
        return seen

    def look(self, images: NDArray[np.uint8]) -> list[Reading]:
        """One reading per picture of RGB uint8 [N, H, W, 3]."""
        return top_1(self.probabilities(images), self.labels, self.accepted)
