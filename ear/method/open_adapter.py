"""Open adapters by their files, whatever their kind: tuned weights, a recipe of prompts, or an oracle."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from ear.method import adapter, lora
from ear.method.oracle import MODEL_FILE, oracle_facts, read_oracle
from ear.method.prompt_recipes import read_prompt_adapter
from ecgvf.core.errors import AdapterError
from ecgvf.janus import JanusModel


class AnyAdapter(Protocol):
    """What changes a model while it is active, and can be measured: an adapter, or what stands in for it."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is known of it, such as its "recipe"."""

    @property
    def concepts(self) -> list[str]:
        """Names of the concepts that it erases; empty if it does not say."""

    @property
    def rewrites(self) -> bool:
        """Whether it puts the surrogate into the concept's place in a prompt."""

    def active(self, model: JanusModel) -> AbstractContextManager[JanusModel]:
        """Context with the changed model; at its end ``model`` is as before."""


def open_adapter(model: JanusModel, files: Sequence[Path]) -> AnyAdapter:
    """The adapter in ``files``; the adapters of several files are stacked.

    Raises ``AdapterError`` for a file that is not an adapter or belongs to another model, and for several files of
    which any cannot be stacked: a recipe of prompts, or an oracle.
    """
    alone = [file for file in files if is_prompt_adapter(file) or file.name == MODEL_FILE]
    if not alone:
        return adapter.stack(model, files)
    if len(files) > 1:
        what = "is a whole model" if alone[0].name == MODEL_FILE else "has no weights"
        raise AdapterError(f"{alone[0]} {what} and cannot be stacked: pass it alone")
    if files[0].name == MODEL_FILE:
        return read_oracle(model, files[0].parent)
    prompt_adapter = read_prompt_adapter(files[0])
    adapter.check_model(prompt_adapter.facts, model, files[0])
    return prompt_adapter


def adapter_facts(file: Path) -> dict[str, Any]:
    """The facts saved in ``file``: concept, model and recipe, of an adapter also sampling. Raises ``AdapterError``."""
    if file.name == MODEL_FILE:
        return oracle_facts(file.parent)
    return dict(read_prompt_adapter(file).facts) if is_prompt_adapter(file) else adapter.read(file)[0]


def check_concept(erased: Sequence[str], concept: str, file: Path) -> None:
    """Raise ``AdapterError`` if an adapter, whose first file is ``file``, erases other concepts than ``concept``.

    An adapter that names no concept passes.
    """
    if erased and concept not in erased:
        raise AdapterError(f"{file} erases {', '.join(erased)} and not {concept}: measure it on its own concept")


def files_hash(files: Iterable[Path]) -> str:
    """16 hex digits: a hash of the contents of ``files``, in their order. It identifies stacked adapters.

    The scaling of a LoRA adapter counts unless it is that of ``ear train``. Raises ``AdapterError`` as
    ``lora.read_scaling`` does.
    """
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:  # a whole model's weights need not fit in memory twice
            digest.update(hashlib.file_digest(stream, "sha256").digest())
        if (scaling := lora.foreign_scaling(file)) is not None:
            digest.update(str(scaling).encode())
    return digest.hexdigest()[:16]


def is_prompt_adapter(file: Path) -> bool:
    """Whether ``file`` is that of a recipe of prompts, which has no weights."""
    return file.suffix == ".json"
