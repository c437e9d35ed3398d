"""``hf:ID``: any image classifier of transformers, from the Hub or a folder that ``save_pretrained`` wrote."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoImageProcessor, AutoModelForImageClassification

from ecgvf.core.errors import JudgeError
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.judge import Criterion
from ecgvf.judges.weights import state_hash


class HuggingFace(Classifier):
    """An image classifier of transformers with its own image processor. No code from the Hub is run.

    Labels of the form "beacon, lighthouse" go by each of their names. Raises ``JudgeError`` for what cannot be fetched
    or is no image classifier, and for labels that it does not know.
    """

    def __init__(
        self, name: str, source: str, wanted: Criterion | tuple[str, ...], *, device: torch.device | None = None
    ) -> None:
        try:
            self._prepare: Any = AutoImageProcessor.from_pretrained(source, trust_remote_code=False)
            loaded: Any = AutoModelForImageClassification.from_pretrained(
                source, use_safetensors=None, trust_remote_code=False, output_loading_info=True
            )
            network, told = loaded
            classes = [_names(network.config.id2label[place]) for place in range(network.config.num_labels)]
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise JudgeError(
                f"cannot load the image classifier {source!r}: {reason[:200]}; name a folder that save_pretrained "
                f"wrote, or the Hub id of an image classifier"
            ) from error
        if told["missing_keys"]:
            raise JudgeError(
                f"{source!r} lacks weights ({', '.join(sorted(told['missing_keys'])[:3])}), which would be random: "
                f"name a finished image classifier"
            )
        super().__init__(name, classes, wanted, device)
        self._network = network.eval().to(self.device)

    @cached_property
    def weights_hash(self) -> str:
        """A hash of the weights themselves, wherever they came from."""
        return state_hash(self._network.state_dict())

    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        prepared = self._prepare(images=list(images), return_tensors="pt", input_data_format="channels_last")
        logits: torch.Tensor = self._network(prepared["pixel_values"].to(self.device)).logits
        several = self._network.config.problem_type == "multi_label_classification"
        return logits.sigmoid() if several else logits.softmax(1)


def _names(label: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys([label, *(part.strip() for part in label.split(",") if part.strip())]))
