"""Weights that a user names: read without running code from the file, and identified by a hash.

Where labels and preprocessing come with the weights, the hash covers them: they decide the answers, too.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ecgvf.core.errors import JudgeError, first_line
from ecgvf.core.files import JSON, canonical_json


def read_weights(file: Path, *, option: str = "--weights") -> dict[str, torch.Tensor]:
    """The tensors by name of a ``.safetensors`` file, or of a ``.pth`` or ``.pt`` file read with ``weights_only``.

    ``option`` is what named the file, for messages. Raises ``JudgeError`` if the file is missing, damaged, or contains
    something else.
    """
    if not file.is_file():
        raise JudgeError(f"no weights at {file}: correct {option}")
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        with warnings.catch_warnings(action="ignore"):  # about the file's format, which the error says better
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise JudgeError(f"cannot read the weights in {file}: {first_line(error)}") from error
    except Exception as error:  # of an unpickler that reads anything: whatever the bytes make it raise
        raise JudgeError(
            f"cannot read the weights in {file}: it is damaged, or contains more than tensors; save the model's "
            "state_dict()"
        ) from error
    # Training scripts wrap the weights.
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise JudgeError(f"{file} contains no tensors by name: save the model's state_dict()")
    return content  # unchanged: its metadata holds the version of the architecture


def file_hash(file: Path, *, option: str = "--weights") -> str:
    """16 hex digits of the SHA-256 of a file, which ``option`` named. Raises ``JudgeError`` if it is missing."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    except OSError as error:
        raise JudgeError(f"no weights at {file} ({error.strerror}): correct {option}") from error


def state_hash(state: Mapping[str, torch.Tensor], settings: JSON) -> str:
    """16 hex digits: a hash of names, shapes, dtypes and values, wherever they came from, and of the ``settings``."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    digest.update(canonical_json(settings))
    return digest.hexdigest()[:16]


def saved_settings(content: JSON) -> JSON:
    """The ``content`` of a configuration of transformers, without the version and the place that it was saved by."""

    def decisive(part: JSON) -> JSON:
        return {key: value for key, value in part.items() if key != "transformers_version" and not key.startswith("_")}

    settings: JSON = json.loads(json.dumps(content), object_hook=decisive)
    return settings
