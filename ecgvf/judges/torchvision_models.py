"""``torchvision:NAME``: any image classifier of torchvision, with published weights or those of a file.

``resnet50`` is the paper's judge of objects.
"""

import hashlib
import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.models
from numpy.typing import NDArray
from torch import nn
from torch.fx import Tracer
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import get_model, get_model_weights, list_models

from ecgvf.core.errors import JudgeError
from ecgvf.core.files import expanded
from ecgvf.core.validation import did_you_mean
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.judge import Criterion
from ecgvf.judges.weights import file_hash, read_weights

# What torchvision builds its published weights with, but not a model without weights.
_BUILD_ARGUMENTS: dict[str, dict[str, bool]] = {
    name: {"transform_input": True, "init_weights": False} for name in ("inception_v3", "googlenet")
}

# Published densenets have parameter names of an old version, which torchvision renames on loading.
_OLD_DENSENET_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")


class Torchvision(Classifier):
    """A torchvision classifier with the transforms of its weights, which are loaded for the first image.

    ``weights`` names published ones (``IMAGENET1K_V1``, ``V1``; None: the model's default) or a file for that
    architecture, which gets the transforms and classes of the default ones. Raises ``JudgeError`` for unknown names
    and labels, and if the weights cannot be downloaded or do not fit.
    """

    def __init__(
        self, name: str, architecture: str, criterion: Criterion, *, weights: str | None = None, device: str = "cpu"
    ) -> None:
        known = list_models(module=torchvision.models)  # other tasks are in submodules
        if architecture not in known:
            raise JudgeError(
                f"torchvision has no image classifier {architecture!r}{did_you_mean(architecture, known)}: see "
                "torchvision.models.list_models()"
            )
        published: Any = get_model_weights(architecture)
        self._architecture = architecture
        self._file = expanded(weights) if weights is not None and _is_file(weights) else None
        self._published = published.DEFAULT if self._file or weights is None else _published(published, weights)
        self._transform = self._published.transforms()
        categories = self._published.meta["categories"]
        super().__init__(name, [(label,) for label in categories], criterion, device)
        if self.device.type == "cpu":
            self.batch_size = 6  # measured: docs/decisions/0006-judges.md

    @cached_property
    def weights_hash(self) -> str:
        """The start of the SHA-256: of the file, or as torchvision publishes and checks it."""
        if self._file is not None:
            return file_hash(self._file)
        stem = str(self._published.url).rsplit("/", 1)[1].removesuffix(".pth")
        published_hash = stem.rsplit("-", 1)[-1]
        # A few files have no hash in their name; torchvision never reuses a name, so its hash stands in.
        return published_hash if len(published_hash) == 8 else hashlib.sha256(stem.encode()).hexdigest()[:8]

    @cached_property
    def _network(self) -> Any:
        network = get_model(self._architecture, weights=None, **_BUILD_ARGUMENTS.get(self._architecture, {}))
        state = self._state()
        for name in list(state):
            state[_OLD_DENSENET_NAME.sub(r"\1\2", name)] = state.pop(name)
        try:
            network.load_state_dict(state)
        except (RuntimeError, ValueError) as error:
            raise JudgeError(
                f"the weights in {self._file or self._published.url} are not those of torchvision's "
                f"{self._architecture} with {len(self.labels)} classes: {' '.join(str(error).split())[:200]}"
            ) from error
        _fold_batch_norms(network.eval())
        # Images are channels-last already, and convolutions on a CPU are faster in that format.
        return network.to(self.device, memory_format=torch.channels_last)

    def _state(self) -> dict[str, torch.Tensor]:
        if self._file is not None:
            return read_weights(self._file)
        cache = Path(torch.hub.get_dir(), "checkpoints")
        cached = cache / str(self._published.url).rsplit("/", 1)[1]
        try:
            state: dict[str, torch.Tensor] = self._published.get_state_dict(
                progress=False, check_hash=True, weights_only=True
            )
        except Exception as error:  # of an unpickler that reads anything: whatever the bytes make it raise
            if cached.is_file():
                raise JudgeError(f"{cached} is damaged: delete it, and judge {self.name} downloads it again") from error
            raise JudgeError(
                f"cannot download the weights of judge {self.name} from {self._published.url}: connect, name a file "
                f"with --weights, or put that file into {cache}"
            ) from error
        return state

    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).to(self.device)
        probabilities: torch.Tensor = self._network(self._transform(pixels)).softmax(1)
        return probabilities


def _fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch norm into the convolution before it, if nothing else reads that: same function, fewer passes."""
    graph = Tracer().trace(network)
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(norm := network.get_submodule(node.target), nn.BatchNorm2d):
            continue
        source = node.args[0]
        if source.op != "call_module" or len(source.users) > 1 or calls[source.target] + calls[node.target] > 2:
            continue
        if isinstance(convolution := network.get_submodule(source.target), nn.Conv2d):
            network.set_submodule(source.target, fuse_conv_bn_eval(convolution, norm))
            network.set_submodule(node.target, nn.Identity())


def _is_file(weights: str) -> bool:
    return Path(weights).suffix in {".pth", ".pt", ".safetensors"} or "/" in weights


def _published(published: Any, name: str) -> Any:
    for weights in published:
        if name.upper() in {weights.name, weights.name.removeprefix("IMAGENET1K_")}:
            return weights
    raise JudgeError(
        f"no weights {name!r}: use one of {', '.join(weights.name for weights in published)}, or the path of a file "
        f"(.pth, .pt or .safetensors)"
    )
