"""Nano's CLIP: images and sentences of nano's world as vectors. Its weights ship with Janus-nano."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoTokenizer, CLIPModel, PreTrainedTokenizerFast

from ecgvf.core.errors import JudgeError
from ecgvf.core.paths import data_dir
from ecgvf.janus.loading import silent_transformers
from ecgvf.judges.weights import file_hash
from ecgvf.world.networks import preprocess

TEXT_LENGTH = 64
"""Most tokens of a text."""


class NanoEncoder:
    """Nano's CLIP, with the methods of ``ecgvf.judges.clip.Encoder``. Raises ``JudgeError`` if it is missing."""

    def __init__(self, folder: Path | None = None) -> None:
        nano = data_dir() / "nano"
        folder = folder if folder is not None else nano / "clip"
        self._file = folder / "model.safetensors"
        try:
            with silent_transformers():
                model: Any = CLIPModel.from_pretrained(folder, dtype=torch.float32)
                self._tokenizer: Any = AutoTokenizer.from_pretrained(nano)
        except (OSError, ValueError) as error:
            raise JudgeError(f"nano's CLIP is missing from {folder}: install ecgvf again") from error
        self.model = model.eval()

    @cached_property
    def weights_hash(self) -> str:
        """16 hex digits of the SHA-256 of the weights' file."""
        return file_hash(self._file)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors, float [N, 64]; a text longer than ``TEXT_LENGTH`` is cut off."""
        return embed_texts(self.model, text_ids(self._tokenizer, texts))

    @torch.inference_mode()
    def encode_images(self, images: NDArray[np.uint8]) -> Tensor:
        """Unit vectors, float [N, 64], of RGB uint8 [N, H, W, 3]."""
        return normalize(self.project(torch.from_numpy(np.array(images))), dim=1)

    @torch.inference_mode()
    def project(self, images: Tensor) -> Tensor:
        """The image vectors before they are normalised, float32 [N, 64], of RGB uint8 [N, H, W, 3]."""
        return project_images(self.model, preprocess(images))


def text_ids(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Tensor:
    """Token ids ``[N, S]`` that end with the end-of-sentence token, padded on the right with it."""
    rows = [[*ids[: TEXT_LENGTH - 1], tokenizer.eos_token_id] for ids in tokenizer(list(texts))["input_ids"]]
    longest = max(map(len, rows))
    return torch.tensor([row + [tokenizer.eos_token_id] * (longest - len(row)) for row in rows])


def embed_texts(model: CLIPModel, ids: Tensor) -> Tensor:
    """Unit vectors ``[N, 64]`` of token ids ``[N, S]``."""
    return normalize(model.text_projection(model.text_model(input_ids=ids).pooler_output).float(), dim=1)


def project_images(model: CLIPModel, pixels: Tensor) -> Tensor:
    """Vectors ``[N, 64]``, not normalised, of pixels ``[N, 3, 64, 64]`` in −1…1."""
    projected: Tensor = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    return projected.float()
