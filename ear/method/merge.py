"""Merge an adapter into its model: a folder that ``from_pretrained`` loads without this package."""

import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from ear.method import adapter
from ear.method.open_adapter import is_prompt_adapter
from ear.method.oracle import MODEL_FILE
from ecgvf.core import console
from ecgvf.core.errors import AdapterError
from ecgvf.janus import JanusModel
from ecgvf.janus.loading import silent_transformers


def check_new(folder: Path) -> None:
    """Raise ``AdapterError`` for a folder that is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AdapterError(f"--merged {folder} is not empty: name a new folder")


def check_mergeable(files: Sequence[Path]) -> None:
    """Raise ``AdapterError`` for an adapter without weights or that is a whole model."""
    for file in files:
        if file.name == MODEL_FILE:
            raise AdapterError(f"{file.parent} is a whole model already: copy its folder")
        if is_prompt_adapter(file):
            raise AdapterError(f"{file} has no weights, it only changes prompts: there is nothing to merge")


def export_merged(model: JanusModel, files: Sequence[Path], folder: Path) -> None:
    """Write ``model``, tuned by the stacked adapters in ``files``, to ``folder``, which appears whole or not at all.

    Raises ``AdapterError`` as ``open_adapter``, ``check_mergeable`` and ``check_new`` do.
    """
    check_mergeable(files)
    check_new(folder)
    # Copies: some weights share memory with others (ecgvf/janus/fused.py), which safetensors refuses. On the CPU: a GPU
    # may not hold the model twice.
    weights = {name: weight.detach().to("cpu", copy=True) for name, weight in model.model.state_dict().items()}
    for name, module in adapter.stack(model, files).modules.items():
        weights[f"model.language_model.{name}.weight"] = module.weight.detach().to("cpu", model.dtype)
    folder = folder.resolve()  # "." has no name
    new = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        with silent_transformers(), console.status("writing the merged model"):
            model.model.save_pretrained(new, state_dict=weights)
            model.processor.save_pretrained(new)
        if folder.exists():
            folder.rmdir()
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
