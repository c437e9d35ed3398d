"""A loaded model, and the fingerprint of its files."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from ecgvf.janus.kv_cache import bytes_per_position
from ecgvf.janus.sampling import Sampling
from ecgvf.janus.upsampling import join_upsampling

FILES_WITHOUT_WEIGHTS = ("*.json", "*.jinja")
FILES = ("*.safetensors", *FILES_WITHOUT_WEIGHTS)
"""The files that decide what a checkpoint computes: weights, configurations, tokenizer and chat template."""


@dataclass(frozen=True)
class JanusModel:
    """A model in evaluation mode with its processor. No weight requires a gradient; ``ear`` enables those it trains."""

    name: str
    """A key of ``MODELS``, a Hub id, or a folder's absolute path."""
    path: Path
    """The folder of its files."""
    model: Any
    """``JanusForConditionalGeneration``."""
    processor: Any
    """``JanusProcessor``."""
    raw_control_tokens: bool = False
    """Whether the model obeys control tokens that a prompt spells; otherwise they are text."""
    rewrite: Callable[[str], str] | None = None
    """Applied to each prompt before it is tokenized."""
    negative_prompt: str | None = None
    """What guidance leads away from; None: the empty prompt."""
    padding_masked: bool = True
    """Whether the left padding of a batch is hidden from the model. False reproduces scripts that pass no attention
    mask; an image then depends on the other prompts in its batch."""
    suffix_ids: tuple[int, ...] = ()
    """Token ids to add after the words of each prompt (``janus.soft_prompt``)."""

    @property
    def image_tokens(self) -> int:
        """T, the number of tokens of an image."""
        return int(self.model.config.vision_config.num_image_tokens)

    @property
    def image_size(self) -> int:
        """Height and width of an image in pixels."""
        return int(self.model.config.vision_config.image_size)

    @property
    def max_length(self) -> int:
        """Maximum number of tokens of a prompt and its image together."""
        return int(self.model.config.text_config.max_position_embeddings)

    @property
    def depth(self) -> int:
        """Number of layers of the language model."""
        return int(self.model.config.text_config.num_hidden_layers)

    @property
    def language_model(self) -> Any:
        """The ``LlamaModel``: embeddings, layers, final norm."""
        return self.model.model.language_model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.model.device)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def dtype_name(self) -> str:
        """Its ``dtype`` as settings and results write it: "float32", "bfloat16" or "float16"."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def sampling(self) -> Sampling:
        """Guidance and temperature from its generation configuration; Janus's defaults if it has none."""
        config = self.model.generation_config
        return Sampling().override(config.guidance_scale, config.temperature)

    def default_batch_size(self) -> int:
        """How many images to render at once: a power of 2, up to 64, whose KV cache fits.

        On a CPU the cache may take 1 GiB, whatever is free, so that the same model always has the same batches; on a
        GPU it may take half of the memory that is free now.
        """
        room = 2**30
        if self.device.type == "cuda":
            # PyTorch keeps what it freed, and uses it again.
            cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            room = (torch.cuda.mem_get_info(self.device)[0] + cached) // 2
        return self.batch_size_within(room)

    def batch_size_within(self, room: int) -> int:
        """The number of images, a power of 2 from 1 to 64, whose KV cache takes at most ``room`` bytes."""
        rows, prompt = 2, 64  # guidance doubles the rows; most prompts are shorter
        per_image = rows * (self.image_tokens + prompt) * bytes_per_position(self.model.config.text_config, self.dtype)
        return 1 << min(6, max(1, room // per_image).bit_length() - 1)

    @cached_property
    def image_token_embeddings(self) -> torch.Tensor:
        """The language model's input for each image token, [V, C]. It depends on no weight that ``ear`` trains."""
        tokens = torch.arange(self.model.model.generation_embeddings.num_embeddings, device=self.device)
        with torch.no_grad():
            embeddings: torch.Tensor = self.model.prepare_embeddings_for_image_generation(tokens)
        return embeddings.to(self.dtype)

    @cached_property
    def embedding_scale(self) -> float:
        """Standard deviation of the token embeddings."""
        return float(self.language_model.embed_tokens.weight.float().std())

    @cached_property
    def pixel_decoder(self) -> Any:
        """A module from codes [B, C, h, w] of image tokens to pixels [B, 3, H, W] in [-1, 1]; never trained."""
        return join_upsampling(self.model.model.vqmodel.decoder)

    @cached_property
    def fingerprint(self) -> str:
        """``files_fingerprint`` of its folder."""
        return files_fingerprint(self.path)


def files_fingerprint(folder: Path) -> str:
    """16 hex digits: a hash of the files in ``folder`` that match ``FILES``, the same for a copy of the folder."""
    hashes = {file.name: _sha256(file) for pattern in FILES for file in folder.glob(pattern)}
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16]


def _sha256(file: Path) -> str:
    blob = file.resolve()
    if file.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return blob.name  # the Hub's cache names a large file by its SHA-256
    state = blob.stat()
    return _content_sha256(blob, state.st_size, state.st_mtime_ns)


@cache
def _content_sha256(file: Path, size: int, mtime_ns: int) -> str:
    """Cached, as an evaluation asks often, and the weights may be 14 GB; a file that changes has another time."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
