"""``timm:NAME``: any image classifier of timm, with weights from the Hub or a file."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ecgvf.core.errors import JudgeError, first_line
from ecgvf.core.files import expanded
from ecgvf.core.hub import offline_if_unreachable
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.judge import Criterion
from ecgvf.judges.weights import read_weights

try:
    import timm
    import timm.data
except ImportError as missing:
    raise JudgeError("judges `timm:NAME` need the package timm: pip install 'ecgvf[judges]'") from missing


class Timm(Classifier):
    """A timm classifier with its own transforms. An ImageNet class has all of its WordNet names.

    Raises ``JudgeError`` for unknown models and labels, and if the weights cannot be downloaded or do not fit.
    """

    def __init__(
        self, name: str, model: str, criterion: Criterion, *, weights: str | None = None, device: str = "cpu"
    ) -> None:
        if not model.startswith(("hf-hub:", "hf_hub:", "local-dir:")) and not timm.is_model(model.partition(".")[0]):
            raise JudgeError(f"timm has no model {model!r}: see timm.list_models()")
        network = _load(model, weights)
        super().__init__(name, _classes(network, model), criterion, device)
        self._network = network.eval().to(self.device)
        data_config = timm.data.resolve_data_config({}, model=network)
        self._transform: Any = timm.data.create_transform(**data_config)
        loaded = network.pretrained_cfg
        self._settings = {
            "data": data_config,
            **{key: loaded.get(key) for key in ("architecture", "label_names", "label_descriptions")},
            "model_args": getattr(network, "pretrained_model_args", {}),  # since timm 1.0.31
        }

    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        pixels = torch.stack([self._transform(Image.fromarray(image)) for image in images])
        probabilities: torch.Tensor = self._network(pixels.to(self.device)).softmax(1)
        return probabilities


def _load(model: str, weights: str | None) -> Any:
    if weights is not None:
        try:
            network = timm.create_model(model, pretrained=False)
            network.load_state_dict(read_weights(expanded(weights)))
        except RuntimeError as error:
            raise JudgeError(
                f"the weights in {weights} are not those of timm's {model}: {' '.join(str(error).split())[:200]}"
            ) from error
        return network
    try:
        with offline_if_unreachable():
            return timm.create_model(model, pretrained=True)
    except Exception as error:  # timm, huggingface_hub and urllib raise errors of their own
        raise JudgeError(
            f"cannot download the weights of timm's {model}: {first_line(error)}; "
            "connect to the network, or name a file with --weights"
        ) from error


def _classes(network: Any, model: str) -> list[tuple[str, ...]]:
    """The names of each class: for ImageNet-1k torchvision's first, then WordNet's."""
    labels = network.pretrained_cfg.get("label_names")
    if labels:
        descriptions = network.pretrained_cfg.get("label_descriptions") or {}
        return [(str(label), *_split(descriptions.get(label, ""))) for label in labels]
    subset = timm.data.infer_imagenet_subset(network)
    if not subset:
        raise JudgeError(f"timm's {model} does not name its {network.num_classes} classes: use another model")
    info = timm.data.ImageNetInfo(subset)
    classes = [_split(info.index_to_description(index)) for index in range(info.num_classes())]
    if subset == "imagenet-1k":
        from torchvision.models import ResNet50_Weights

        labels = ResNet50_Weights.DEFAULT.meta["categories"]
        classes = [tuple(dict.fromkeys([label, *names])) for label, names in zip(labels, classes, strict=True)]
    return classes


def _split(description: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in description.split(",") if name.strip())
