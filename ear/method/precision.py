"""The dtype in which a training computes."""

from collections.abc import Mapping
from typing import Any

import torch

from ear.method.recipe import Recipe
from ecgvf.janus import JanusModel


def computes_in_bfloat16(recipe: Recipe, device: torch.device) -> bool:
    """Whether forward and backward passes are autocast to bfloat16: if the recipe says so, and not on a CPU without
    AVX-512, where PyTorch multiplies bfloat16 in a plain loop, many times slower than float32 (decision 0017)."""
    fast = device.type != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    return recipe.mixed_precision == "bf16" and fast


def compute_dtype(recipe: Recipe, model: JanusModel) -> str:
    """The dtype of forward and backward passes, by name."""
    return "bfloat16" if computes_in_bfloat16(recipe, model.device) else model.dtype_name


def training_dtype(facts: Mapping[str, Any]) -> str | None:
    """``compute_dtype`` of the training of an adapter with these ``facts``; None if it was not trained here."""
    if "window" not in facts:  # images, a whole model, imported weights, or a recipe of prompts
        return None
    mixed = facts["recipe"].get("mixed_precision") == "bf16"
    return facts.get("compute_dtype") or ("bfloat16" if mixed else facts.get("dtype"))
