"""Janus-Pro at full size, whose cost is counted and not measured, and the GPU that it is counted for."""

from pathlib import Path

import torch
from transformers import JanusForConditionalGeneration

from ecgvf.core.files import read_json
from ecgvf.janus import JanusModel, load
from ecgvf.janus.roofline import Roofs
from tools.janus_pro import config

H100 = Roofs(bytes_per_second=3.35e12, flops_per_second=989e12)
"""An H100 SXM by its data sheet: memory bandwidth, and dense bfloat16. https://www.nvidia.com/en-us/data-center/h100/"""
PROMPT_TOKENS = 24
"""Tokens of a benchmark's prompt in the chat template."""


def full_size(size: str) -> JanusModel:
    """Janus-Pro of ``size`` on the meta device, in bfloat16."""
    with torch.device("meta"):
        model = JanusForConditionalGeneration(config(size)).bfloat16()
    return JanusModel(f"janus-pro-{size}", Path(), model, load("janus-nano").processor)


def weight_bytes(model: JanusModel) -> int:
    """Bytes of all its weights."""
    weights: int = sum(parameter.numel() for parameter in model.model.parameters())
    return weights * model.dtype.itemsize


def share_of_roof() -> float:
    """The share of the roof that rendering by Janus-nano reached on a CPU (docs/render.json)."""
    return float(read_json(Path("docs/render.json"))["share_of_roof"])
