"""``hf:ID``: any image classifier of transformers, from the Hub or a folder that ``save_pretrained`` wrote."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoImageProcessor, AutoModelForImageClassification

from ecgvf.core.errors import JudgeError, first_line
from ecgvf.core.hub import offline_if_unreachable
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.judge import Criterion
from ecgvf.judges.weights import saved_settings


class HuggingFace(Classifier):
    """An image classifier of transformers with its own image processor. No code from the Hub is run.

    A class with the label "beacon, lighthouse" has both names. Raises ``JudgeError`` if it cannot be loaded, is no
    image classifier or lacks weights, and for an unknown label.
    """

    def __init__(self, name: str, source: str, criterion: Criterion, *, device: str = "cpu") -> None:
        network: Any
        try:
            with offline_if_unreachable(source):
                self._processor: Any = AutoImageProcessor.from_pretrained(source, trust_remote_code=False)
                network, loading_info = AutoModelForImageClassification.from_pretrained(
                    source,
                    dtype=torch.float32,
                    use_safetensors=None,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
                # As the files have them: what the library adds changes with its version.
                self._settings = {
                    "config": saved_settings(network.config.get_config_dict(source)[0]),
                    "processor": saved_settings(self._processor.get_image_processor_dict(source)[0]),
                }
            classes = [_names(network.config.id2label[index]) for index in range(network.config.num_labels)]
        except ImportError as error:
            raise JudgeError(
                f"cannot load the image classifier {source!r}: {first_line(error).partition('. ')[0]}: install that "
                "library (timm: pip install 'ecgvf[judges]')"
            ) from error
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise JudgeError(
                f"cannot load the image classifier {source!r}: {first_line(error)}; name a folder that save_pretrained "
                f"wrote, or the Hub id of an image classifier"
            ) from error
        if missing := sorted(loading_info["missing_keys"]):
            raise JudgeError(
                f"{source!r} lacks weights ({', '.join(missing[:3])}), which would be random: "
                f"name a trained image classifier"
            )
        super().__init__(name, classes, criterion, device)
        self._network = network.eval().to(self.device)

    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        # PIL images, as the processor of timm's checkpoints takes no format of arrays.
        inputs = self._processor(images=[Image.fromarray(image) for image in images], return_tensors="pt")
        logits: torch.Tensor = self._network(inputs["pixel_values"].to(self.device)).logits
        multi_label = self._network.config.problem_type == "multi_label_classification"
        return logits.sigmoid() if multi_label else logits.softmax(1)


def _names(label: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys([label, *(part.strip() for part in label.split(",") if part.strip())]))
