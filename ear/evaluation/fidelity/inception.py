"""Inception-v3 features, float32 [N, 2048], from weights that the user names. None ship, and none are downloaded.

Two layouts are in use, and their features differ. Published FIDs use the TensorFlow network of 2015 as torch-fidelity
and pytorch-fid convert it (``pt_inception-2015-12-05-….pth``, 1,008 classes). torchvision's ``inception_v3`` (1,000
classes) has the same modules with other weights, and averages differently at borders.

Sources: https://arxiv.org/abs/1512.00567; for the 2015 network's pooling, https://github.com/toshas/torch-fidelity.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import inception_v3

from ecgvf.core.errors import JudgeError
from ecgvf.judges.weights import file_hash, read_weights

SIDE = 299
"""Height and width of the input, in pixels."""
OPTION = "--inception"

_LAYOUTS: dict[tuple[int, ...], str] = {(1008,): "torch-fidelity", (1000,): "torchvision"}
"""Number of classes → whose layout it is."""

_AVERAGED = ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7b")


class Inception(nn.Module):
    """The pooled features of Inception-v3: uint8 [N, 3, 299, 299] → float32 [N, 2048].

    ``weights`` is a file of either layout. Raises ``JudgeError`` if it is missing, damaged or of another layout.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        state = read_weights(weights, option=OPTION)
        classes = tuple(state["fc.weight"].shape[:1]) if "fc.weight" in state else ()
        self.layout = _LAYOUTS.get(classes, "")
        if not self.layout:
            raise JudgeError(
                f"{weights} has the layout of neither torch-fidelity's nor torchvision's Inception-v3 (no fc.weight of "
                f"1,008 or 1,000 classes): name such a file with {OPTION}"
            )
        network: Any = inception_v3(weights=None, num_classes=classes[0], aux_logits=False, init_weights=False)
        own = {name: value for name, value in state.items() if not name.startswith("AuxLogits.")}
        try:
            network.load_state_dict(own)
        except (RuntimeError, ValueError) as error:
            raise JudgeError(
                f"{weights} does not fit {self.layout}'s Inception-v3: {' '.join(str(error).split())[:200]}; name "
                f"another file with {OPTION}"
            ) from error
        network.fc = nn.Identity()
        if self.layout == "torch-fidelity":
            _pool_as_in_2015(network)
        self._network = network.eval().requires_grad_(False)
        self.weights_hash = file_hash(weights, option=OPTION)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Features [N, 2048] of ``images``."""
        scaled = images.float()
        scaled = (scaled - 128) / 128 if self.layout == "torch-fidelity" else scaled / 127.5 - 1
        features: Tensor = self._network(scaled)
        return features


class _Pooling(nn.Module):
    """A block of torchvision's network whose last branch pools in another way."""

    def __init__(self, block: Any, pool: Any) -> None:
        super().__init__()
        self._block, self._pool = block, pool

    def forward(self, hidden: Tensor) -> Tensor:
        branches: list[Tensor] = self._block._forward(hidden)
        return torch.cat([*branches[:-1], self._block.branch_pool(self._pool(hidden))], dim=1)


def _pool_as_in_2015(network: Any) -> None:
    """Averages leave out the padding, and the last block takes the maximum."""
    average = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
    for name in _AVERAGED:
        setattr(network, name, _Pooling(getattr(network, name), average))
    maximum = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
    network.Mixed_7c = _Pooling(network.Mixed_7c, maximum)
