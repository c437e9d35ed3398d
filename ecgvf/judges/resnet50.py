"""The paper's judge of objects: torchvision's ResNet-50 on ImageNet, its best label against the concept's."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models import ResNet50_Weights, resnet50

from ecgvf.errors import JudgeError
from ecgvf.judges.judge import Reading, check_labels, top_1

WEIGHTS: Any = ResNet50_Weights.IMAGENET1K_V2
BATCH = 32


class ResNet50:
    """Looks for the ``accepted`` ImageNet labels by top-1, with the weights' own transforms.

    The weights are fetched once, when the first picture is looked at. Raises ``JudgeError`` for labels that ImageNet
    does not have, and where the weights cannot be fetched.
    """

    name = "resnet50"

    def __init__(self, accepted: tuple[str, ...]) -> None:
        self.accepted = accepted
        self.labels: tuple[str, ...] = tuple(WEIGHTS.meta["categories"])
        check_labels(self.name, self.labels, accepted)

    @property
    def weights_hash(self) -> str:
        """The start of the weights' SHA-256 that torchvision publishes and checks."""
        return str(WEIGHTS.url).rsplit("-", 1)[1].removesuffix(".pth")

    @cached_property
    def _network(self) -> Any:
        try:
            weights = WEIGHTS.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (OSError, RuntimeError) as error:
            raise JudgeError(
                f"cannot fetch the weights of judge resnet50 from {WEIGHTS.url}: connect, or put that file into "
                f"{torch.hub.get_dir()}/checkpoints"
            ) from error
        network = resnet50(weights=None)
        network.load_state_dict(weights)
        return network.eval()

    @torch.no_grad()
    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, 1000] for RGB uint8 [N, H, W, 3]."""
        transform = WEIGHTS.transforms()
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        rows = [
            self._network(transform(pixels[start : start + BATCH])).softmax(1).numpy()
            for start in range(0, len(pixels), BATCH)
        ]
        seen: NDArray[np.float32] = np.concatenate([np.zeros((0, len(self.labels)), np.float32), *rows])
        return seen

    def look(self, images: NDArray[np.uint8]) -> list[Reading]:
        """One reading per picture of RGB uint8 [N, H, W, 3]."""
        return top_1(self.probabilities(images), self.labels, self.accepted)
