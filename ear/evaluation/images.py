"""Evaluation images, kept in the store: an interrupted evaluation resumes, and "before" is rendered once."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from ear.evaluation.prompts import EvaluationPrompt
from ear.method.adapter import Adapter
from ecgvf.core.dataset import Dataset
from ecgvf.core.files import JSON
from ecgvf.core.png import decode, encode
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import Stage, fingerprint
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling, num_threads, render_images

STAGE = Stage("evaluation", "ear eval")
SHARD = 64
SCHEMA = pa.schema(
    [
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
    ]
)


def evaluation_images(
    store: Store,
    model: JanusModel,
    dataset: Dataset,
    prompts: Sequence[EvaluationPrompt],
    *,
    adapter: Adapter | None = None,
    adapter_hash: str | None = None,
    batch_size: int = 32,
) -> NDArray[np.uint8]:
    """RGB uint8 [len(prompts), H, W, 3], by the frozen model or with ``adapter``; ``adapter_hash`` identifies its
    weights.

    The sampling is that of the dataset. Images that the store has are not rendered again.
    """
    settings = {
        "model": model.fingerprint,
        "dtype": str(model.dtype).removeprefix("torch."),
        "sampling": dataset.sampling,
        "adapter": adapter_hash,
        "cases": fingerprint({"cases": [[prompt.prompt, prompt.seed] for prompt in prompts]}),
    }
    stage_set = ConceptRun(store, dataset.concept).stage_set(STAGE, settings)

    def render(shard: Sequence[EvaluationPrompt], circumstances: JSON, advance: Callable[[int], None]) -> pa.Table:
        texts, seeds = [prompt.prompt for prompt in shard], [prompt.seed for prompt in shard]
        with num_threads(circumstances["threads"]):
            images = render_images(
                model,
                texts,
                seeds,
                Sampling(**dataset.sampling),
                batch_size=circumstances["batch_size"],
                advance=advance,
            )
        columns = {"prompt": texts, "seed": seeds, "image": [encode(pixels) for pixels in images.pixels]}
        return pa.table(columns, schema=SCHEMA)

    with adapter.active(model) if adapter is not None else nullcontext():
        stage_set.fill(
            [prompts[start : start + SHARD] for start in range(0, len(prompts), SHARD)],
            render,
            description="rendering without the adapter" if adapter is None else "rendering with the adapter",
            circumstances={
                "batch_size": batch_size,
                "threads": torch.get_num_threads(),
                "device": model.device.type,
            },
        )
    stage_set.finish({"pictures": len(prompts)}, current=False)
    return np.stack([decode(image) for image in stage_set.read()["image"].to_pylist()])
