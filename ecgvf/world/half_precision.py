"""Weights of Janus-nano's small networks in a folder: ``config.json`` and ``model.safetensors`` in float16."""

import json
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file, save_file
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def save_half(network: nn.Module, config: dict[str, Any], folder: Path) -> None:
    """Write ``config`` and the network's weights, floats in float16, to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    half = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    save_file(half, folder / "model.safetensors")


def read_config(folder: Path) -> dict[str, Any]:
    """The config that ``save_half`` wrote. Raises ``OSError`` if it is missing."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


def load_half(network: Network, folder: Path) -> Network:
    """Load the weights into ``network``: float32, evaluation mode. Raises ``OSError`` if they are missing."""
    weights = load_file(folder / "model.safetensors")
    network.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    )
    return network.eval()
