"""An oracle in place of an adapter: a model trained without the concept, which no erasure can surpass.

FOLDER/ as ``save_pretrained`` writes it, with one file of weights, and, if ``python -m tools.nano oracle`` made it,
oracle.json: what its training left out.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ecgvf.core import concepts
from ecgvf.core.errors import AdapterError
from ecgvf.janus import JanusModel, absolute_name, load
from ecgvf.world import grammar

MODEL_FILE = "model.safetensors"
ORACLE_FILE = "oracle.json"


@dataclass(frozen=True)
class Oracle:
    """A whole model that is measured as if it were the frozen model with an adapter."""

    other: JanusModel
    facts: Mapping[str, Any]
    rewrites = False
    """Prompts stay as they are."""

    @property
    def concepts(self) -> list[str]:
        """The concepts that its training left out; empty if its folder does not say."""
        return [name for name in str(self.facts["concept"]).split("+") if name]

    @contextmanager
    def active(self, model: JanusModel) -> Iterator[JanusModel]:
        """Context with the other model, which reads prompts as ``model`` does; ``model`` itself stays as it is."""
        yield replace(self.other, raw_control_tokens=model.raw_control_tokens, padding_masked=model.padding_masked)


def read_oracle(model: JanusModel, folder: Path | str) -> Oracle:
    """The model in ``folder``, to compare with ``model``, on its device and in its dtype.

    Raises ``ModelError`` if it is none, and ``AdapterError`` if its image tokens are not those of ``model``.
    """
    other = load(
        str(folder), device=str(model.device), dtype=model.dtype_name, raw_control_tokens=model.raw_control_tokens
    )
    codes, others = (each.model.model.vqmodel.quantize.embedding.weight for each in (model, other))
    if codes.shape != others.shape or not torch.equal(codes, others) or model.image_tokens != other.image_tokens:
        raise AdapterError(
            f"{folder} has another image tokenizer than {model.name}, so that their image tokens mean different "
            "things: name a model that was trained with the same"
        )
    loaded = {"model": other.name, "fingerprint": other.fingerprint, "sampling": asdict(other.sampling)}
    return Oracle(other, {**oracle_facts(other.path), **loaded})


def oracle_facts(folder: Path) -> dict[str, Any]:
    """What is known of the unloaded model in ``folder``. Raises ``AdapterError`` for a damaged oracle.json."""
    file = folder / ORACLE_FILE
    without: Any = []
    unsafe = True  # nobody says what it was not taught
    if file.is_file():
        try:
            without = json.loads(file.read_bytes())["without"]
        except (ValueError, KeyError, TypeError):
            without = None
        if not isinstance(without, list):
            raise AdapterError(f"{file} does not say what training left out: restore it, or delete it")
        unsafe = any(not grammar.find_things([str(name)]) and concepts.may_be_unsafe(str(name)) for name in without)
    return {
        "concept": "+".join(map(str, without)),
        "unsafe": unsafe,
        "model": absolute_name(str(folder)),
        "recipe": {"name": folder.resolve().name},
    }
