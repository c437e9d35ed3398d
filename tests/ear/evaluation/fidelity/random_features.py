from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torchvision.models import inception_v3

from ear.evaluation.fidelity.features import SHARD, FeatureSet
from ear.evaluation.fidelity.frechet import Floats
from ecgvf.core.shard_set import ShardSet


def gaussian(n: int, dimensions: int, seed: int, shift: float = 0.0) -> Floats:
    """Float64 [n, dimensions] with mean ``shift`` and variance 1."""
    return np.random.default_rng(seed).normal(shift, 1.0, (n, dimensions))


def feature_set(folder: Path, features: Floats, cosines: list[float] | None = None) -> FeatureSet:
    """``features``, [n, dimensions], as the stage keeps them."""
    shards = ShardSet(folder, {"n": len(features)}, "a test")
    for index, start in enumerate(range(0, len(features), SHARD)):
        rows = features[start : start + SHARD].astype(np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
        values = (cosines or [0.0] * len(features))[start : start + SHARD]
        shards.write_shard(index, pa.table({"features": column, "clip": pa.array(values, pa.float32())}))
    shards.finish({})
    return FeatureSet(shards, len(features))


def random_state(classes: int, *, aux: bool) -> dict[str, Tensor]:
    """Inception's weights in torchvision's layout under which activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(0)
    network = inception_v3(weights=None, num_classes=classes, aux_logits=aux, init_weights=False)
    state: dict[str, Tensor] = network.state_dict()
    for name, value in state.items():
        if name.endswith("conv.weight"):
            fan = value[0].numel()
            state[name] = torch.randn(value.shape, generator=generator) * (2 / fan) ** 0.5
    return state
