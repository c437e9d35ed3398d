"""The dtype in which a training computes."""

from collections.abc import Mapping
from typing import Any

import torch

from ear.method.recipe import Recipe
from ecgvf.janus import JanusModel


def computes_in_bfloat16(recipe: Recipe, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether forward and backward passes of a model of ``dtype`` on ``device`` are autocast to bfloat16.

    If the recipe says so, but neither where bfloat16 is slow nor for a float16 model, whose tensors PyTorch does not
    promote in bfloat16 autocast. It is slow where a GPU emulates it, and on a CPU without AVX-512, where PyTorch
    multiplies it in a plain loop, many times slower than float32 (decision 0017). A GPU that is not here counts as
    fast.
    """
    if recipe.mixed_precision != "bf16" or dtype == torch.float16:
        return False
    if device.type == "cpu":
        return torch.backends.cpu.get_cpu_capability() == "AVX512"
    emulated = torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type != "cuda" or not emulated


def compute_dtype(recipe: Recipe, model: JanusModel, device: torch.device | None = None) -> str:
    """The dtype of forward and backward passes on ``device`` (None: the model's own), by name."""
    bfloat16 = computes_in_bfloat16(recipe, device or model.device, model.dtype)
    return "bfloat16" if bfloat16 else model.dtype_name


def fallback_dtype(recipe: Recipe, model: JanusModel) -> dict[str, str]:
    """``{"compute_dtype": …}`` if a recipe in bfloat16 computes in another dtype on the model's device, and so trains
    other weights than elsewhere: a part of settings. Otherwise empty."""
    if recipe.mixed_precision != "bf16" or computes_in_bfloat16(recipe, model.device, model.dtype):
        return {}
    return {"compute_dtype": compute_dtype(recipe, model)}


def training_dtype(facts: Mapping[str, Any]) -> str | None:
    """``compute_dtype`` of the training of an adapter with these ``facts``; None if it was not trained here."""
    if "window" not in facts:  # images, a whole model, imported weights, or a recipe of prompts
        return None
    mixed = facts["recipe"].get("mixed_precision") == "bf16"
    return facts.get("compute_dtype") or ("bfloat16" if mixed else facts.get("dtype"))
