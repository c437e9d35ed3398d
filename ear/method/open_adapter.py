"""Open adapters by their files: with weights, or without."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ear.method import adapter as weights
from ear.method.adapter import Adapter
from ear.method.prompt_recipes import PromptAdapter, read_prompt_adapter
from ecgvf.core.errors import AdapterError
from ecgvf.janus import JanusModel

AnyAdapter = Adapter | PromptAdapter


def open_adapter(model: JanusModel, files: Sequence[Path]) -> AnyAdapter:
    """The adapter in one file, or those of several stacked.

    Raises ``AdapterError`` for a file that is none or of another model, and for one without weights among several.
    """
    without_weights = [file for file in files if _is_prompt_adapter(file)]
    if not without_weights:
        return weights.stack(model, files)
    if len(files) > 1:
        raise AdapterError(f"{without_weights[0]} has no weights and cannot be stacked: pass it alone")
    adapter = read_prompt_adapter(files[0])
    weights.check_model(adapter.facts, model, files[0])
    return adapter


def adapter_facts(file: Path) -> dict[str, Any]:
    """Where the adapter in ``file`` comes from, as saved with it. Raises ``AdapterError``."""
    return dict(read_prompt_adapter(file).facts) if _is_prompt_adapter(file) else weights.read(file)[0]


def _is_prompt_adapter(file: Path) -> bool:
    return file.suffix == ".json"
