"""``timm:NAME``: any image classifier of timm, with weights from the Hub or a file of yours."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ecgvf.core.errors import JudgeError
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.judge import Criterion
from ecgvf.judges.weights import read_weights, state_hash

try:
    import timm
    import timm.data
except ImportError as missing:
    raise JudgeError("judges `timm:NAME` need the package timm: pip install 'ecgvf[judges]'") from missing


class Timm(Classifier):
    """A timm classifier with its own transforms. Its classes go by all the names that WordNet has for them.

    Raises ``JudgeError`` for unknown models and labels, and for weights that cannot be fetched or do not fit.
    """

    def __init__(
        self,
        name: str,
        model: str,
        wanted: Criterion | tuple[str, ...],
        *,
        weights: str | None = None,
        device: torch.device | None = None,
    ) -> None:
        if not model.startswith(("hf-hub:", "hf_hub:", "local-dir:")) and not timm.is_model(model.partition(".")[0]):
            raise JudgeError(f"timm has no model {model!r}: see timm.list_models()")
        self._network: Any = _loaded(model, weights)
        super().__init__(name, _classes(self._network, model), wanted, device)
        self._network = self._network.eval().to(self.device)
        self._transform: Any = timm.data.create_transform(**timm.data.resolve_data_config({}, model=self._network))

    @cached_property
    def weights_hash(self) -> str:
        """A hash of the weights themselves, wherever they came from."""
        return state_hash(self._network.state_dict())

    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        pixels = torch.stack([self._transform(Image.fromarray(image)) for image in images])
        seen: torch.Tensor = self._network(pixels.to(self.device)).softmax(1)
        return seen


def _loaded(model: str, weights: str | None) -> Any:
    if weights is not None:
        try:
            network = timm.create_model(model, pretrained=False)
            network.load_state_dict(read_weights(Path(weights).expanduser()))
        except RuntimeError as error:
            raise JudgeError(
                f"the weights in {weights} are not those of timm's {model}: {' '.join(str(error).split())[:200]}"
            ) from error
        return network
    try:
        return timm.create_model(model, pretrained=True)
    except Exception as error:  # timm, the Hub's client and urllib each have errors of their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise JudgeError(
            f"cannot fetch the weights of timm's {model}: {reason[:200]}; connect, or name a file with --weights"
        ) from error


def _classes(network: Any, model: str) -> list[tuple[str, ...]]:
    """The names of each class, best known first: ImageNet's as torchvision has them, then WordNet's."""
    named = network.pretrained_cfg.get("label_names")
    if named:
        described = network.pretrained_cfg.get("label_descriptions") or {}
        return [(str(name), *_split(described.get(name, ""))) for name in named]
    subset = timm.data.infer_imagenet_subset(network)
    if not subset:
        raise JudgeError(f"timm's {model} does not say what its {network.num_classes} classes are: use another model")
    info = timm.data.ImageNetInfo(subset)
    classes = [_split(info.index_to_description(place)) for place in range(info.num_classes())]
    if subset == "imagenet-1k":
        from torchvision.models import ResNet50_Weights

        usual = ResNet50_Weights.DEFAULT.meta["categories"]
        classes = [
            (name, *(other for other in names if other != name)) for name, names in zip(usual, classes, strict=True)
        ]
    return classes


def _split(description: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in description.split(",") if name.strip())
