"""The pictures that are measured, kept in the store: an interrupted evaluation goes on, and "before" is drawn once."""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from ear.evaluation.cases import Case
from ear.method.adapter import Adapter
from ecgvf.core import console
from ecgvf.core.dataset import Dataset
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


def pictures(
    store: Store,
    model: JanusModel,
    dataset: Dataset,
    cases: Sequence[Case],
    *,
    adapter: Adapter | None = None,
    adapter_hash: str | None = None,
    batch_size: int = 32,
) -> NDArray[np.uint8]:
    """RGB uint8 [len(cases), H, W, 3], by the frozen model or with ``adapter``, whose weights ``adapter_hash`` names.

    Rendered with the sampling that drew the dataset, in shards that are kept.
    """
    settings = {
        "model": model.fingerprint,
        "dtype": str(model.dtype).removeprefix("torch."),
        "sampling": dataset.sampling,
        "adapter": adapter_hash,
        "cases": fingerprint({"cases": [[case.prompt, case.seed] for case in cases]}),
    }
    stage = ConceptRun(store, dataset.concept).stage_set(STAGE, settings)
    kept = stage.record_circumstances(batch_size=batch_size, threads=torch.get_num_threads(), device=model.device.type)
    shards = [cases[start : start + SHARD] for start in range(0, len(cases), SHARD)]
    there = [stage.done(index) for index in range(len(shards))]
    before = sum(len(shard) for shard, done in zip(shards, there, strict=True) if done)
    what = "drawing with the adapter" if adapter is not None else "drawing without"
    tuned = adapter.active(model) if adapter is not None else nullcontext()
    with tuned, num_threads(kept["threads"]), console.progress(what, len(cases), before) as bar:
        for index, shard in enumerate(shards):
            if there[index]:
                continue
            prompts, seeds = [case.prompt for case in shard], [case.seed for case in shard]
            drawing = render_images(
                model, prompts, seeds, Sampling(**dataset.sampling), batch_size=kept["batch_size"], advance=bar.advance
            )
            columns = {"prompt": prompts, "seed": seeds, "image": [encode(pixels) for pixels in drawing.pixels]}
            stage.write_shard(index, pa.table(columns, schema=SCHEMA))
    stage.finish({"pictures": len(cases)})
    return np.stack([decode(image) for image in stage.read()["image"].to_pylist()])
