"""``clip``: zero-shot. CLIP compares an image with the concept's texts and with contrast texts.

The score is the softmax share of the concept's texts among all texts, at the model's own temperature. With one text on
each side it is the logistic of (difference of cosines) * scale, so a threshold on it is a margin between cosines: 0.5
is no margin. ``ecgvf judge IMAGES --without IMAGES`` finds the threshold that best separates known images.

Source: https://arxiv.org/abs/2103.00020, section 3.1.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch.nn.functional import normalize
from transformers import AutoProcessor, CLIPModel

from ecgvf.core.device import device_errors, resolve_device
from ecgvf.core.errors import JudgeError, first_line
from ecgvf.core.files import JSON
from ecgvf.core.hub import offline_if_unreachable
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.judge import Criterion
from ecgvf.judges.weights import saved_settings, state_hash

DEFAULT = "openai/clip-vit-base-patch32"
THRESHOLD = 0.5


class Encoder:
    """A CLIP model that encodes images and texts as unit vectors.

    ``source`` is a folder or a Hub id; None: OpenAI's ViT-B/32. ``option`` is what names one, for messages. Raises
    ``JudgeError`` if it cannot be loaded or lacks weights, and as ``device_errors`` does.
    """

    def __init__(self, source: str | None = None, device: str = "cpu", *, option: str = "--weights") -> None:
        source = source or DEFAULT
        try:
            with offline_if_unreachable(source):
                loaded: Any = CLIPModel.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
                self._processor: Any = AutoProcessor.from_pretrained(source)
                model, loading_info = loaded
                self._settings = {
                    "config": saved_settings(model.config.get_config_dict(source)[0]),
                    "processor": saved_settings(self._processor.image_processor.get_image_processor_dict(source)[0]),
                    "tokenizer": _tokenizer_settings(self._processor.tokenizer),
                }
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise JudgeError(
                f"cannot load the CLIP model {source!r}: {first_line(error)}; "
                f"connect to the network, or name a folder with {option}"
            ) from error
        if missing := sorted(loading_info["missing_keys"]):
            raise JudgeError(
                f"the CLIP model {source!r} lacks weights ({', '.join(missing[:3])}), which would be random: name "
                f"another with {option}"
            )
        self.device = resolve_device(device)
        with device_errors(self.device, f"load the CLIP model {source!r}"):
            self._model = model.eval().to(self.device)

    @cached_property
    def weights_hash(self) -> str:
        """Hash of the tensors, and of the configuration, the preprocessing and the tokenizer."""
        return state_hash(self._model.state_dict(), self._settings)

    @property
    def scale(self) -> float:
        """Factor of the cosines before a softmax."""
        return float(self._model.logit_scale.detach().exp())

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors, float [N, D]; a text longer than the model's context is cut off."""
        inputs = self._processor(text=list(texts), return_tensors="pt", padding=True, truncation=True).to(self.device)
        return normalize(self._model.get_text_features(**inputs).pooler_output, dim=-1)

    @torch.inference_mode()
    def encode_images(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Unit vectors, float [N, D], of RGB uint8 [N, H, W, 3]."""
        inputs = self._processor(images=list(images), return_tensors="pt", input_data_format="channels_last")
        features = self._model.get_image_features(pixel_values=inputs["pixel_values"].to(self.device))
        return normalize(features.pooler_output, dim=-1)


def _tokenizer_settings(tokenizer: Any) -> JSON:
    """What decides the ids of a text. Padding and truncation are left out as states: the last call set them."""
    pipeline = json.loads(tokenizer.backend_tokenizer.to_str())
    settings = {key: value for key, value in pipeline.items() if key not in ("version", "padding", "truncation")}
    names = ("model_max_length", "padding_side", "truncation_side", "pad_token_id")
    return settings | {name: getattr(tokenizer, name) for name in names}


def _distinct(texts: Sequence[str]) -> list[str]:
    """``texts`` without repetitions; as in all labels of a classifier, case does not matter."""
    distinct: dict[str, str] = {}
    for text in texts:
        distinct.setdefault(text.casefold(), text)
    return list(distinct.values())


class Clip(Classifier):
    """Sees the concept if its texts (the accepted labels) have a share of at least the threshold."""

    def __init__(self, criterion: Criterion, *, weights: str | None = None, device: str = "cpu") -> None:
        texts = _distinct([*criterion.accepted, *criterion.against])
        if texts == _distinct(criterion.accepted):
            raise JudgeError("judge clip has nothing to contrast the concept with: name texts with --contrast")
        super().__init__("clip", [(text,) for text in texts], criterion, device)
        self._encoder = Encoder(weights, device)
        self._text_vectors = self._encoder.encode_texts(texts)

    @cached_property
    def weights_hash(self) -> str:
        """That of the encoder."""
        return self._encoder.weights_hash

    def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
        cosines = self._encoder.encode_images(images) @ self._text_vectors.T
        return (cosines * self._encoder.scale).softmax(1)
