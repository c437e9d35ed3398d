"""The dtype in which a training computes."""

import torch

from ear.method.recipe import Recipe
from ecgvf.janus import JanusModel


def computes_in_bfloat16(recipe: Recipe, model: JanusModel) -> bool:
    """Whether forward and backward passes are autocast to bfloat16.

    If the recipe says so, but neither where bfloat16 is slow nor for a float16 model, whose tensors PyTorch does not
    promote in bfloat16 autocast. It is slow where a GPU emulates it, and on a CPU without AVX-512, where PyTorch
    multiplies it in a plain loop, many times slower than float32 (decision 0017).
    """
    if recipe.mixed_precision != "bf16" or model.dtype == torch.float16:
        return False
    if model.device.type == "cpu":
        return torch.backends.cpu.get_cpu_capability() == "AVX512"
    return model.device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def compute_dtype(recipe: Recipe, model: JanusModel) -> str:
    """The dtype of forward and backward passes, by name."""
    return "bfloat16" if computes_in_bfloat16(recipe, model) else model.dtype_name
