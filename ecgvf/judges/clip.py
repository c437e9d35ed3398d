"""``clip``: zero-shot. The concept's texts against contrast texts, by CLIP.

The score is the softmax share of the concept's texts among all texts, at the model's own temperature. With one text on
each side it is the logistic of (difference of cosines) * scale, so that a threshold on it is a margin between cosines:
0.5 is none. ``ecgvf judge --with ... --without ...`` finds the threshold that parts pictures which you know.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch.nn.functional import normalize
from transformers import AutoProcessor, CLIPModel

from ecgvf.core.errors import JudgeError
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.judge import Criterion
from ecgvf.judges.weights import state_hash

DEFAULT = "openai/clip-vit-base-patch32"
THRESHOLD = 0.5


class Encoder:
    """A CLIP model: pictures and texts become unit vectors. Raises ``JudgeError`` for what cannot be loaded."""

    def __init__(self, source: str = DEFAULT, device: torch.device | None = None) -> None:
        try:
            self._model: Any = CLIPModel.from_pretrained(source)
            self._processor: Any = AutoProcessor.from_pretrained(source)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise JudgeError(
                f"cannot load the CLIP model {source!r}: {reason[:200]}; connect, or name a folder with --weights"
            ) from error
        self.device = device if device is not None else torch.device("cpu")
        self._model = self._model.eval().to(self.device)

    @cached_property
    def weights_hash(self) -> str:
        """A hash of the weights themselves, wherever they came from."""
        return state_hash(self._model.state_dict())

    @property
    def scale(self) -> float:
        """By which cosines are multiplied before a softmax."""
        return float(self._model.logit_scale.detach().exp())

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors [N, D]; what is longer than the model reads is cut off."""
        given = self._processor(text=list(texts), return_tensors="pt", padding=True, truncation=True).to(self.device)
        return _unit(self._model.get_text_features(**given))

    @torch.inference_mode()
    def pictures(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Unit vectors [N, D] of RGB uint8 [N, H, W, 3]."""
        given = self._processor(images=list(images), return_tensors="pt", input_data_format="channels_last")
        return _unit(self._model.get_image_features(pixel_values=given["pixel_values"].to(self.device)))


class Clip(Classifier):
    """Sees the concept where its texts (the accepted labels) have a share of at least the threshold."""

    def __init__(
        self, name: str, criterion: Criterion, *, source: str = DEFAULT, device: torch.device | None = None
    ) -> None:
        texts = list(dict.fromkeys([*criterion.accepted, *criterion.against]))
        if len(texts) == len(criterion.accepted):
            raise JudgeError("judge clip has nothing to weigh the concept against: name texts with --contrast")
        super().__init__(name, [(text,) for text in texts], criterion, device)
        self._encoder = Encoder(source, self.device)
        self._texts = self._encoder.texts(texts)

    @property
    def weights_hash(self) -> str:
        """A hash of the weights themselves, wherever they came from."""
        return self._encoder.weights_hash

    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        cosines = self._encoder.pictures(images) @ self._texts.T
        return (cosines * self._encoder.scale).softmax(1)


def _unit(features: Any) -> torch.Tensor:
    # transformers gives the vectors themselves, or in newer versions an output that holds them.
    vectors: torch.Tensor = features if isinstance(features, torch.Tensor) else features.pooler_output
    return normalize(vectors, dim=-1)
