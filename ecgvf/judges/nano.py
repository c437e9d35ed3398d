"""The judges of Janus-nano's pictures: two of things, of equal architecture and other training, and one of styles.

``object-a`` filters; ``object-b`` measures, so that no model is measured by the judge that chose its data.
"""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ecgvf.core.errors import JudgeError
from ecgvf.core.paths import data_dir
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.judge import Criterion
from ecgvf.world.classifier import NanoResNet, probabilities

FAMILY = ("object-a", "object-b", "style")


class NanoJudge(Classifier):
    """One of nano's judges.

    Raises ``JudgeError`` for weights that are missing or damaged and for labels that the judge does not know.
    """

    batch = 128

    def __init__(
        self,
        which: str,
        wanted: Criterion | tuple[str, ...],
        *,
        folder: Path | None = None,
        device: torch.device | None = None,
    ) -> None:
        name = f"nano-{which}"
        self._folder = folder if folder is not None else data_dir() / "nano" / "judges" / which
        if not (self._folder / "model.safetensors").is_file():
            raise JudgeError(f"the weights of judge {name} are missing from {self._folder}: install ecgvf again")
        try:
            self._network = NanoResNet.load(self._folder)
        except Exception as error:
            raise JudgeError(
                f"the weights of judge {name} in {self._folder} are damaged: install ecgvf again"
            ) from error
        super().__init__(name, [(label,) for label in self._network.labels], wanted, device)
        self._network.to(self.device)

    @cached_property
    def weights_hash(self) -> str:
        """16 hex digits of the SHA-256 of the weights' file."""
        return hashlib.sha256((self._folder / "model.safetensors").read_bytes()).hexdigest()[:16]

    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        return probabilities(self._network, torch.from_numpy(np.ascontiguousarray(images)).to(self.device))
