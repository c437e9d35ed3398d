"""Open adapters by their files: with weights, or without."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ear.method import adapter as weights
from ear.method.adapter import Adapter
from ear.method.prompt_recipes import PromptAdapter, read_prompt_adapter
from ear.method.retrained import WEIGHTS as RETRAINED
from ear.method.retrained import RetrainedModel, read_retrained, retrained_facts
from ecgvf.core.errors import AdapterError
from ecgvf.janus import JanusModel, load

AnyAdapter = Adapter | PromptAdapter | RetrainedModel


def open_adapter(model: JanusModel, files: Sequence[Path]) -> AnyAdapter:
    """The adapter in one file, or those of several stacked; a whole model's weights stand for it alone.

    Raises ``AdapterError`` for a file that is none or of another model, and for one that cannot be stacked.
    """
    alone = [file for file in files if _is_prompt_adapter(file) or file.name == RETRAINED]
    if not alone:
        return weights.stack(model, files)
    if len(files) > 1:
        what = "is a whole model" if alone[0].name == RETRAINED else "has no weights"
        raise AdapterError(f"{alone[0]} {what} and cannot be stacked: pass it alone")
    if files[0].name == RETRAINED:
        return read_retrained(model, files[0].parent)
    adapter = read_prompt_adapter(files[0])
    weights.check_model(adapter.facts, model, files[0])
    return adapter


def adapter_facts(file: Path) -> dict[str, Any]:
    """Where the adapter in ``file`` comes from, as saved with it. Raises ``AdapterError``."""
    if file.name == RETRAINED:
        return retrained_facts(load(str(file.parent), device="cpu"))
    return dict(read_prompt_adapter(file).facts) if _is_prompt_adapter(file) else weights.read(file)[0]


def _is_prompt_adapter(file: Path) -> bool:
    return file.suffix == ".json"
