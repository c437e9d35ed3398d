"""Import the weights that the paper's authors released: a nested dict in a PyTorch file.

``{"layers.0.self_attn.q_proj": {"weight": Tensor}, …}``: full weights of the projections q, k, v, o of some layers, by
their names in the language model; some files also have entries of rotary embeddings, which are empty.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ear.method.adapter import adapter_of, module_names
from ear.method.facts import adapter_settings, saved_facts
from ear.method.runs import ADAPTER_FILE, TrainingRun, open_run
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import AdapterError
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel
from ecgvf.judges.weights import file_hash

_PROJECTION = re.compile(r"layers\.(\d+)\.self_attn\.[qkvo]_proj")


def import_weights(
    store: Store, file: Path, weights: Mapping[str, Tensor], concept: Concept, model: JanusModel
) -> TrainingRun:
    """Write ``weights``, as ``read_released`` finds them in ``file``, as a finished run of ``concept``, unless it
    exists.

    Raises ``AdapterError`` for weights of another model.
    """
    settings = adapter_settings(
        concept,
        None,
        model,
        model.sampling,
        dtype=model.dtype_name,
        recipe={"name": "imported"},
        source={"file": file.name, "hash": file_hash(file)},
    )
    store.remember_first(concept.name)
    run = open_run(ConceptRun(store, concept), "imported", settings, 0)
    if run.finished:
        return run
    facts = saved_facts(concept, model, settings)
    adapter_of(model, weights, file).save(run.path / ADAPTER_FILE, facts, model.dtype)
    run.finish_untrained(facts)
    return replace(run, new=True)


def read_released(file: Path) -> dict[str, Tensor]:
    """Projection → its weight [out, in]. Code in the file is never run.

    Raises ``AdapterError`` for a file that is not such a dict or holds code, and for unknown or missing keys.
    """
    if not file.is_file():
        raise AdapterError(f"no file at {file}: name the released weights")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what is no archive, or holds more than tensors
        raise AdapterError(
            f"{file} is not a PyTorch file that holds only weights: name the file that the authors released"
        ) from error
    if not isinstance(content, dict):
        raise AdapterError(f"{file} holds no dict of projections: name the file that the authors released")
    weights = {}
    for key, value in content.items():
        if str(key).endswith("rotary_emb") and value == {}:
            continue
        if not _PROJECTION.fullmatch(str(key)) or not isinstance(value, dict) or [*value] != ["weight"]:
            raise AdapterError(f"{file}: {key!r} is not a projection of the released layout")
        if not isinstance(value["weight"], Tensor):
            raise AdapterError(f"{file}: the weight of {key!r} is not a tensor")
        weights[str(key)] = value["weight"]
    layers = sorted({int(match[1]) for key in weights if (match := _PROJECTION.fullmatch(key))})
    if missing := [name for name in module_names(layers, "attention") if name not in weights]:
        raise AdapterError(f"{file} lacks {missing[0]}: it holds other projections of that layer")
    if not weights:
        raise AdapterError(f"{file} holds no projection: name the file that the authors released")
    return weights
