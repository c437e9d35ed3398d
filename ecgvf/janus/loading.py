"""Load a model by name, folder or Hub id; refuse an unusable one before reading any weight."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, snapshot_download
from safetensors import SafetensorError
from transformers import JanusConfig, JanusForConditionalGeneration, JanusProcessor
from transformers.utils import logging as transformers_logging

from ecgvf.core.allocator import keep_freed_memory
from ecgvf.core.device import device_errors, resolve_device
from ecgvf.core.errors import ModelError, first_line
from ecgvf.core.files import expanded, is_folder, read_json
from ecgvf.core.hub import hub_errors
from ecgvf.core.paths import data_dir
from ecgvf.janus.fused import join_projections
from ecgvf.janus.model import FILES, FILES_WITHOUT_WEIGHTS, JanusModel, files_fingerprint
from ecgvf.world.domain import NANO

MODELS = {
    NANO: "the embedded model: a miniature world at 64 px, on a CPU",
    "janus-pro-1b": "deepseek-community/Janus-Pro-1B",
    "janus-pro-7b": "deepseek-community/Janus-Pro-7B",
}
"""Short name → Hub id, or a description of the embedded model."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def load(
    name_or_path: str, *, device: str = "auto", dtype: str = "auto", raw_control_tokens: bool = False
) -> JanusModel:
    """Load a model by a key of ``MODELS``, a folder, or a Hub id.

    ``device``: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N". ``dtype``: "float32", "bfloat16", "float16",
    or "auto": float32 on a CPU, whatever the file contains; on a GPU bfloat16 if its hardware has it, else float16.
    ``raw_control_tokens``: obey control tokens inside a prompt instead of reading them as text.

    Raises ``SettingsError`` for an unknown device and for a checkpoint that does not fit in the GPU's memory,
    ``ModelError`` for an unknown name or dtype and for a checkpoint that is not Janus in the layout of transformers,
    lacks weights, or has them in other files than safetensors, ``HubError`` if the model cannot be downloaded,
    ``DeviceFailed`` if the GPU fails.
    """
    torch_device = resolve_device(device)
    with device_errors(torch_device, f"load {name_or_path}"):
        return _load(name_or_path, torch_device, dtype, raw_control_tokens)


def _load(name_or_path: str, torch_device: torch.device, dtype: str, raw_control_tokens: bool) -> JanusModel:
    if torch_device.type == "cuda" and torch_device.index is not None:  # which resolve_dtype asks
        torch.cuda.set_device(torch_device)
    torch_dtype = resolve_dtype(dtype, torch_device)
    if torch_device.type == "cpu":
        keep_freed_memory()
    folder = _checkpoint_folder(name_or_path)
    _check_config(folder, str(folder))
    if not any(folder.glob("*.safetensors")) and any(folder.glob("*.bin")):
        raise ModelError(
            f"{folder} has its weights in .bin files: save it again with `save_pretrained`, which writes safetensors"
        )
    with _reading(folder):
        # Of safetensors only: the fingerprint covers no other weights.
        loaded: Any = JanusForConditionalGeneration.from_pretrained(
            folder, dtype=torch_dtype, local_files_only=True, output_loading_info=True, use_safetensors=True
        )
        processor = JanusProcessor.from_pretrained(folder, local_files_only=True)
    model, loading_info = loaded
    if missing := sorted(loading_info["missing_keys"]):
        raise ModelError(
            f"{folder} lacks weights ({', '.join(missing[:3])}), which would be random: is the folder complete?"
        )
    model = model.eval().requires_grad_(False).to(torch_device)
    join_projections(model.model.language_model)
    model.model.vqmodel.decoder.to(memory_format=torch.channels_last)  # the faster layout for convolutions
    return JanusModel(absolute_name(name_or_path), folder, model, processor, raw_control_tokens)


def load_without_weights(name_or_path: str) -> JanusModel:
    """The model of ``load`` in float32 on the meta device: its shape and its tokenizer.

    Of a model on the Hub, only configuration and tokenizer are downloaded, so that its ``fingerprint`` means nothing
    unless ``has_weights`` of its ``path``. Raises ``ModelError`` and ``HubError`` as ``load`` does.
    """
    folder = _checkpoint_folder(name_or_path, FILES_WITHOUT_WEIGHTS)
    _check_config(folder, str(folder))
    with _reading(folder):
        with torch.device("meta"):
            model: Any = JanusForConditionalGeneration(JanusConfig.from_pretrained(folder, local_files_only=True))
        processor = JanusProcessor.from_pretrained(folder, local_files_only=True)
    return JanusModel(absolute_name(name_or_path), folder, model.eval().requires_grad_(False), processor)


def has_weights(folder: Path) -> bool:
    """Whether all weights of the checkpoint in ``folder`` are there: of one on the Hub, they may not be downloaded."""
    index = folder / "model.safetensors.index.json"
    names = set(read_json(index).get("weight_map", {}).values()) if index.is_file() else {"model.safetensors"}
    return all((folder / name).is_file() for name in names)


def absolute_name(name_or_path: str) -> str:
    """A folder's absolute path, so that what a run recorded can be found again; other names as they are."""
    folder = expanded(name_or_path)
    return str(folder.resolve()) if name_or_path not in MODELS and is_folder(folder) else name_or_path


def fingerprint(name_or_path: str) -> str:
    """``JanusModel.fingerprint`` of the model that ``load`` loads, without loading it. Raises as ``load`` does."""
    return files_fingerprint(_checkpoint_folder(name_or_path))


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype that ``load`` means by ``dtype`` on ``device``. Raises ``ModelError`` for an unknown dtype."""
    if dtype == "auto":
        if device.type != "cuda":
            return torch.float32
        # Of the current device. Emulated, as on a V100 or a T4, bfloat16 is slower than float16.
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if dtype not in _DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}: use auto, {', '.join(_DTYPES)}")
    return _DTYPES[dtype]


def _checkpoint_folder(name_or_path: str, files: Sequence[str] = FILES) -> Path:
    """The folder of the model, whose ``files`` (patterns) are downloaded if necessary."""
    if name_or_path == NANO:
        nano = data_dir() / "nano"
        if not (nano / "config.json").is_file():
            raise ModelError(f"janus-nano's weights are missing from {nano}: install the package again")
        return nano
    if name_or_path in MODELS:
        return _download(MODELS[name_or_path], files)
    folder = expanded(name_or_path)
    if name_or_path and is_folder(folder):
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder} has no config.json: name a folder that `save_pretrained` wrote")
        return folder
    if _HUB_ID.fullmatch(name_or_path):
        return _download(name_or_path, files)
    raise ModelError(
        f"unknown model {name_or_path!r}: use one of {', '.join(MODELS)}, a folder with a Janus checkpoint, "
        "or a Hub id such as deepseek-community/Janus-Pro-1B"
    )


def _download(repo: str, files: Sequence[str]) -> Path:
    with hub_errors(repo, repo_type="model"):
        # The small file first: a checkpoint that cannot be used is not worth fourteen gigabytes.
        _check_config(Path(hf_hub_download(repo, "config.json")).parent, repo)
        return Path(snapshot_download(repo, allow_patterns=list(files)))


def _check_config(folder: Path, source: str) -> None:
    """Raise ``ModelError`` unless the config.json of ``folder``, which came from ``source``, is that of a Janus."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {file}: {first_line(error)}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file} is not a configuration: a JSON object was expected")
    model_type = config.get("model_type")
    if model_type == "multi_modality":
        width = config.get("language_config", {}).get("hidden_size", 2048)
        converted = "janus-pro-7b" if width >= 4096 else "janus-pro-1b"
        raise ModelError(
            f"{source} is Janus in DeepSeek's original layout (model_type multi_modality), which transformers cannot "
            f"read: use {converted} ({MODELS[converted]}), the same weights in the layout of transformers"
        )
    if model_type != "janus":
        raise ModelError(f"{source} has model_type {model_type!r}, not 'janus': use one of {', '.join(MODELS)}")


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Context that reads the model in ``folder``. Raises ``ModelError`` if transformers cannot."""
    try:
        with silent_transformers():
            yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ModelError(f"cannot load the model in {folder}: {first_line(error)}; is the folder complete?") from error


@contextmanager
def silent_transformers() -> Iterator[None]:
    """Hide progress bars, and warnings about generation settings that only ``generate`` of transformers reads."""
    settings: Any = transformers_logging
    verbosity, progress_bar = settings.get_verbosity(), settings.is_progress_bar_enabled()
    settings.set_verbosity_error()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        settings.set_verbosity(verbosity)
        if progress_bar:
            settings.enable_progress_bar()
