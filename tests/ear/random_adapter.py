from collections.abc import Sequence
from pathlib import Path

import torch

from ear.method.adapter import Adapter, new_adapter
from ecgvf.janus import JanusModel


def random_adapter(model: JanusModel, layers: int, scale: float, seed: int = 0) -> Adapter:
    """The attention of the first ``layers`` layers, with noise of standard deviation ``scale`` added to its weights."""
    adapter = new_adapter(model, range(layers), "attention")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in adapter.weights:
            weight.add_(scale * torch.randn(weight.shape, generator=generator))
    return adapter


def save_adapter(
    tiny: JanusModel,
    file: Path,
    concept: str = "church",
    seed: int = 0,
    rehearsed: Sequence[str] = (),
) -> Path:
    """An adapter of random weights that changes what the tiny model draws, in ``file``."""
    adapter = new_adapter(tiny, range(1), "attention")
    with torch.no_grad():
        for weight in adapter.weights:
            weight.add_(0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
    facts = {"concept": concept, "model": tiny.name, "fingerprint": tiny.fingerprint, "sampling": {}}
    adapter.save(file, {**facts, "recipe": {"name": "default"}, "rehearsed_concepts": list(rehearsed)}, tiny.dtype)
    return file
