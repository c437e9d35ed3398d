"""Image tokens that the store keeps: rendered once, and resumed after an interruption."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from ecgvf.core.stage_set import StageSet
from ecgvf.janus import JanusModel, Sampling
from ecgvf.render import RenderedImage, fill_with_images, refuse_failures

SHARD = 32
SCHEMA = pa.schema(
    [
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("vq_ids", pa.list_(pa.uint16()), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class TokenTask:
    """An image whose tokens are needed."""

    prompt: str
    seed: int


def render_tokens(
    stage_set: StageSet, model: JanusModel, sampling: Sampling, tasks: Sequence[TokenTask], description: str
) -> Tensor:
    """The image tokens of ``tasks``, int64 [N, T], which are rendered into ``stage_set`` unless it has them.

    The settings of ``stage_set`` decide the tasks. Raises ``DatasetError`` for a prompt that cannot be rendered.
    """
    shards = [tasks[start : start + SHARD] for start in range(0, len(tasks), SHARD)]
    fill_with_images(stage_set, shards, model, sampling, _table, description=description)
    stage_set.finish({"pictures": len(tasks)}, current=False)
    return torch.tensor(stage_set.read()["vq_ids"].to_pylist(), dtype=torch.int64)


def _table(tasks: Sequence[TokenTask], images: Sequence[RenderedImage]) -> pa.Table:
    refuse_failures(tasks, images)
    columns = {
        "prompt": [task.prompt for task in tasks],
        "seed": [task.seed for task in tasks],
        "vq_ids": [image.vq_ids for image in images],
    }
    return pa.table(columns, schema=SCHEMA)
