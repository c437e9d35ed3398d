"""``torchvision:NAME``: any image classifier of torchvision, with its published weights or a file of yours."""

import hashlib
import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.fx import Tracer
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import get_model, get_model_weights, list_models

from ecgvf.core.errors import JudgeError
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.judge import Criterion
from ecgvf.judges.weights import file_hash, read_weights

# Packages of models that answer with something else than one row of classes.
_OTHER_TASKS = {"detection", "optical_flow", "segmentation", "video"}

# What torchvision builds its published weights with, and leaves out where there are none.
_BUILT_WITH: dict[str, dict[str, bool]] = {
    name: {"transform_input": True, "init_weights": False} for name in ("inception_v3", "googlenet")
}

# Published densenets have names of an older time, which torchvision changes on loading.
_DENSE = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")


class Torchvision(Classifier):
    """A torchvision classifier with the transforms of its weights, which are fetched when the first picture comes.

    ``weights`` names published ones (``IMAGENET1K_V1``, ``V1``; None: the model's best) or a file for that
    architecture, whose pictures are prepared and whose classes are named as the best published ones'. Raises
    ``JudgeError`` for unknown names and labels, and for weights that cannot be fetched or do not fit.
    """

    def __init__(
        self,
        name: str,
        architecture: str,
        wanted: Criterion | tuple[str, ...],
        *,
        weights: str | None = None,
        device: torch.device | None = None,
    ) -> None:
        if architecture not in classifiers():
            raise JudgeError(
                f"torchvision has no image classifier {architecture!r}: see torchvision.models.list_models()"
            )
        published: Any = get_model_weights(architecture)
        self._architecture = architecture
        self._file = Path(weights).expanduser() if weights is not None and _is_file(weights) else None
        self._published = published.DEFAULT if self._file or weights is None else _named(published, weights)
        self._transform = self._published.transforms()
        categories = self._published.meta["categories"]
        super().__init__(name, [(label,) for label in categories], wanted, device)
        if self.device.type == "cpu":
            self.batch = 6  # more leave the caches, fewer leave cores idle: docs/decisions/0006

    @cached_property
    def weights_hash(self) -> str:
        """The start of the SHA-256: of the file, or as torchvision publishes and checks it."""
        if self._file is not None:
            return file_hash(self._file)
        stem = str(self._published.url).rsplit("/", 1)[1].removesuffix(".pth")
        end = stem.rsplit("-", 1)[-1]
        # A few files carry no hash in their name: then the name, which torchvision never gives twice, stands for it.
        return end if len(end) == 8 else hashlib.sha256(stem.encode()).hexdigest()[:8]

    @cached_property
    def _network(self) -> Any:
        network = get_model(self._architecture, weights=None, **_BUILT_WITH.get(self._architecture, {}))
        state = self._state()
        for name in list(state):
            state[_DENSE.sub(r"\1\2", name)] = state.pop(name)
        try:
            network.load_state_dict(state)
        except (RuntimeError, ValueError) as error:
            raise JudgeError(
                f"the weights in {self._file or self._published.url} are not those of torchvision's "
                f"{self._architecture} with {len(self.labels)} classes: {' '.join(str(error).split())[:200]}"
            ) from error
        _fold(network.eval())
        # The order in which pictures lie in memory anyway; convolutions on a CPU are faster in it.
        return network.to(self.device, memory_format=torch.channels_last)

    def _state(self) -> dict[str, torch.Tensor]:
        if self._file is not None:
            return read_weights(self._file)
        try:
            state: dict[str, torch.Tensor] = self._published.get_state_dict(
                progress=False, check_hash=True, weights_only=True
            )
        except (OSError, RuntimeError) as error:
            raise JudgeError(
                f"cannot fetch the weights of judge {self.name} from {self._published.url}: connect, name a file with "
                f"--weights, or put that one into {torch.hub.get_dir()}/checkpoints"
            ) from error
        return state

    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).to(self.device)
        seen: torch.Tensor = self._network(self._transform(pixels)).softmax(1)
        return seen


def classifiers() -> list[str]:
    """Names of torchvision's image classifiers."""
    import torchvision.models

    return [name for name in list_models(module=torchvision.models) if not _OTHER_TASKS & set(name.split("_"))]


def _fold(network: nn.Module) -> None:
    """Fold each batch norm into the convolution that it alone follows: the same function, one pass over memory less."""
    graph = Tracer().trace(network)
    called = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(norm := network.get_submodule(node.target), nn.BatchNorm2d):
            continue
        before = node.args[0]
        if before.op != "call_module" or len(before.users) > 1 or called[before.target] + called[node.target] > 2:
            continue
        if isinstance(convolution := network.get_submodule(before.target), nn.Conv2d):
            network.set_submodule(before.target, fuse_conv_bn_eval(convolution, norm))
            network.set_submodule(node.target, nn.Identity())


def _is_file(weights: str) -> bool:
    return Path(weights).suffix in {".pth", ".pt", ".safetensors"} or "/" in weights


def _named(published: Any, weights: str) -> Any:
    for one in published:
        if weights.upper() in {one.name, one.name.removeprefix("IMAGENET1K_")}:
            return one
    raise JudgeError(
        f"no weights {weights!r}: use one of {', '.join(one.name for one in published)}, or the path of a file "
        f"(.pth, .pt or .safetensors)"
    )
