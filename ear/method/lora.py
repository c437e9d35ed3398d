"""LoRA adapters on disk, in PEFT's own format: ``PeftModel.from_pretrained`` loads the folder without this package.

adapter_config.json          rank, scaling, and the tuned modules by their whole names
adapter_model.safetensors    A and B of each module; the facts of the training in its metadata, which PEFT ignores
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ear.method.tuned import SCALING, LoRAProjection
from ecgvf.core.errors import AdapterError
from ecgvf.core.files import pretty_json, write_atomic
from ecgvf.janus import MODELS
from ecgvf.world.domain import NANO

LORA_FILE, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_MODEL = "model.language_model."
"""Where the language model is in ``JanusForConditionalGeneration``."""
_PREFIX = f"base_model.model.{_MODEL}"
"""Where PEFT puts it."""

_VARIANTS = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern")
"""Fields of a configuration that change what A and B mean, if they are set."""

_AUTO_MAPPING = {
    "base_model_class": "JanusForConditionalGeneration",
    "parent_library": "transformers.models.janus.modeling_janus",
}
"""How ``AutoPeftModel`` finds the class of the base model."""


def write_config(folder: Path, model: str, modules: Mapping[str, LoRAProjection]) -> None:
    """Write the fields that differ from PEFT's defaults, and the fields that older versions of PEFT require.

    ``model``: the name of the base model, which is written as its Hub id if it has one.
    """
    first = next(iter(modules.values()))
    rank = len(first.lora_A)
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "auto_mapping": _AUTO_MAPPING,
        "base_model_name_or_path": model if model == NANO else MODELS.get(model, model),
        "r": rank,
        "lora_alpha": round(first.scaling * rank),
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [_MODEL + name for name in modules],
        "inference_mode": True,
    }
    write_atomic(folder / CONFIG, pretty_json(config))


def tensors(modules: Mapping[str, LoRAProjection]) -> dict[str, Tensor]:
    """A and B of each module, by PEFT's names."""
    return {
        f"{_PREFIX}{name}.{kind}.weight": getattr(module, kind).detach()
        for name, module in modules.items()
        for kind in ("lora_A", "lora_B")
    }


def read_tensors(weights: Mapping[str, Tensor], file: Path) -> tuple[dict[str, tuple[Tensor, Tensor]], float]:
    """Module → (A [r, in], B [out, r]), and their scaling, from ``weights`` by PEFT's names without ".weight".

    Raises ``AdapterError`` as ``read_scaling`` does, and if weights are missing.
    """
    scaling = read_scaling(file)
    names = [key.removeprefix(_PREFIX).removesuffix(".lora_A") for key in weights if key.endswith(".lora_A")]
    expected = {f"{_PREFIX}{name}.{part}" for name in names for part in ("lora_A", "lora_B")}
    if expected != set(weights):
        odd = sorted(expected ^ set(weights))[0]
        raise AdapterError(f"{file}: {odd} is missing, or of a module outside the language model")
    pairs = {name: (weights[f"{_PREFIX}{name}.lora_A"], weights[f"{_PREFIX}{name}.lora_B"]) for name in names}
    return pairs, scaling


def foreign_scaling(file: Path) -> float | None:
    """The scaling of an adapter whose configuration is not as ``ear train`` wrote it; None for any other file.

    Raises ``AdapterError`` as ``read_scaling`` does.
    """
    scaling = read_scaling(file) if file.name == LORA_FILE else SCALING
    return None if scaling == SCALING else scaling


def read_scaling(file: Path) -> float:
    """By what B A is multiplied, from the configuration beside ``file``.

    Raises ``AdapterError`` for a configuration that is not LoRA's or cannot be read.
    """
    config_file = file.with_name(CONFIG)
    try:
        config: dict[str, Any] = json.loads(config_file.read_bytes())
        scaling, kind = float(config["lora_alpha"]) / int(config["r"]), config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise AdapterError(f"{config_file} is not a configuration that PEFT wrote: restore it") from error
    if kind != "LORA" or any(map(config.get, _VARIANTS)):
        raise AdapterError(f"{config_file} is of {kind} or a variant of LoRA: only plain LoRA is supported")
    return scaling
