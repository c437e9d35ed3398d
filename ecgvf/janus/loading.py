"""A model by name, folder or Hub id. What cannot be used is refused before any weight is read."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError
from transformers import JanusForConditionalGeneration, JanusProcessor
from transformers.utils import logging as transformers_logging

from ecgvf.core.errors import ModelError
from ecgvf.core.hub_client import offline_if_unreachable
from ecgvf.core.paths import data_dir
from ecgvf.janus.sampling import Sampling

MODELS = {
    "janus-nano": "the embedded model: a miniature world at 64 px, on a CPU",
    "janus-pro-1b": "deepseek-community/Janus-Pro-1B",
    "janus-pro-7b": "deepseek-community/Janus-Pro-7B",
}
"""Names that `load` knows, and what each stands for."""

_FILES = ["*.safetensors", "*.json", "*.jinja"]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class JanusModel:
    """A loaded model with its processor. In evaluation mode, no gradients; `ear` turns on what it trains."""

    name: str
    path: Path
    model: Any
    """`JanusForConditionalGeneration`."""
    processor: Any
    """`JanusProcessor`."""

    @property
    def image_tokens(self) -> int:
        """T: how many tokens a picture has."""
        return int(self.model.config.vision_config.num_image_tokens)

    @property
    def depth(self) -> int:
        """Layers of the language model."""
        return int(self.model.config.text_config.num_hidden_layers)

    @property
    def language_model(self) -> Any:
        """The decoder: embeddings, layers, final norm."""
        return self.model.model.language_model

    @property
    def device(self) -> torch.device:
        return torch.device(self.model.device)

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def sampling(self) -> Sampling:
        """The guidance and temperature that its generation configuration states, or Janus's own."""
        usual, stated = Sampling(), self.model.generation_config
        guidance, temperature = (getattr(stated, name, None) for name in ("guidance_scale", "temperature"))
        return Sampling(
            guidance=usual.guidance if guidance is None else float(guidance),
            temperature=usual.temperature if temperature is None else float(temperature),
        )

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits: a hash of weights, configuration, tokenizer and template; a copy has the same."""
        digests = {file.name: _digest(file) for pattern in _FILES for file in sorted(self.path.glob(pattern))}
        return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]


def load(name_or_path: str, *, device: str = "auto", dtype: str = "auto") -> JanusModel:
    """Load a model by one of the names in ``MODELS``, a folder, or a Hub id.

    ``device``: "auto" takes a GPU where there is one. ``dtype``: "float32", "bfloat16", "float16", or "auto": float32
    on a CPU (whatever the file holds), on a GPU bfloat16 where it can, else float16.

    Raises ``ModelError`` for a name that is not known, a model that is not here and cannot be fetched, and a checkpoint
    that is not Janus in the layout of `transformers`.
    """
    where = resolve_device(device)
    kind = _dtype(dtype, where)
    folder = _folder(name_or_path)
    _check(_config(folder), str(folder))
    try:
        with _quiet():
            model: Any = JanusForConditionalGeneration.from_pretrained(folder, dtype=kind, local_files_only=True)
            processor = JanusProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ModelError(f"cannot load the model in {folder}: {_first_line(error)}; is the folder complete?") from error
    model = model.eval().requires_grad_(False).to(where)
    return JanusModel(name=_name(name_or_path), path=folder, model=model, processor=processor)


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers warns about generation settings that only its own `generate` reads, and draws bars of its own."""
    speech: Any = transformers_logging
    verbosity, bars = speech.get_verbosity(), speech.is_progress_bar_enabled()
    speech.set_verbosity_error()
    speech.disable_progress_bar()
    try:
        yield
    finally:
        speech.set_verbosity(verbosity)
        if bars:
            speech.enable_progress_bar()


def _name(name_or_path: str) -> str:
    """A folder is known by its absolute path, so that what a run recorded can be found again."""
    is_folder = name_or_path not in MODELS and Path(name_or_path).is_dir()
    return str(Path(name_or_path).resolve()) if is_folder else name_or_path


def _folder(name_or_path: str) -> Path:
    """Where the model's files are, fetched from the Hub where need be."""
    if name_or_path == "janus-nano":
        nano = data_dir() / "nano"
        if not (nano / "config.json").is_file():
            raise ModelError(f"janus-nano's weights are missing from {nano}: install the package again")
        return nano
    if name_or_path in MODELS:
        return _from_hub(MODELS[name_or_path])
    folder = Path(name_or_path).expanduser()
    if name_or_path and folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder} holds no config.json: name a folder that `save_pretrained` wrote")
        return folder
    if _HUB_ID.fullmatch(name_or_path) and not name_or_path.startswith("."):
        return _from_hub(name_or_path)
    raise ModelError(
        f"unknown model {name_or_path!r}: use one of {', '.join(MODELS)}, a folder with a Janus checkpoint, "
        "or a Hub id such as deepseek-community/Janus-Pro-1B"
    )


def _from_hub(repo: str) -> Path:
    try:
        with offline_if_unreachable():
            # The small file first: a checkpoint that cannot be used is not worth fourteen gigabytes.
            config = Path(hf_hub_download(repo, "config.json"))
            _check(_config(config.parent), repo)
            return Path(snapshot_download(repo, allow_patterns=_FILES))
    except GatedRepoError as error:
        raise ModelError(
            f"the Hub gates {repo}: accept its terms on its page, then log in with `hf auth login`"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(f"the Hub has no model {repo} (or it is private: log in with `hf auth login`)") from error
    except (OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
        raise ModelError(
            f"{repo} is not on this machine ({constants.HF_HUB_CACHE}) and the Hub cannot be reached: "
            f"connect and run `hf download {repo}`, or use --model janus-nano, which needs no network"
        ) from error
    except EntryNotFoundError as error:
        raise ModelError(f"{repo} on the Hub has no config.json: it is no Janus checkpoint") from error
    except (HfHubHTTPError, OSError) as error:
        raise ModelError(f"cannot fetch {repo} from the Hub: {_first_line(error)}; try again later") from error


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {folder / 'config.json'}: {_first_line(error)}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{folder / 'config.json'} is not a configuration: a JSON object was expected")
    return config


def _check(config: dict[str, Any], where: str) -> None:
    kind = config.get("model_type")
    if kind == "multi_modality":
        width = config.get("language_config", {}).get("hidden_size", 2048)
        instead = "janus-pro-7b" if width >= 4096 else "janus-pro-1b"
        raise ModelError(
            f"{where} is Janus in DeepSeek's original layout (model_type multi_modality), which transformers cannot "
            f"read: use {instead} ({MODELS[instead]}), the same weights in the layout of transformers"
        )
    if kind != "janus":
        raise ModelError(f"{where} holds model_type {kind!r}, not 'janus': use one of {', '.join(MODELS)}")


def resolve_device(device: str) -> torch.device:
    """The device that ``--device`` names; "auto" takes a GPU where there is one. Raises ``ModelError``."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        where = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"unknown device {device!r}: use auto, cpu, cuda or cuda:N") from error
    if where.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("device cuda was asked for, but PyTorch sees no GPU: use --device cpu")
    return where


def _dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if dtype not in _DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}: use auto, {', '.join(_DTYPES)}")
    return _DTYPES[dtype]


def _digest(file: Path) -> str:
    blob = file.resolve().name
    if file.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob):
        return blob  # the Hub's cache names a large file by its SHA-256
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
