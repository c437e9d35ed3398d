"""From records to images to render, and from images to ``Rendering`` rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ecgvf.core.records import PromptPair, Rendering, Role, from_table, to_table
from ecgvf.core.seeds import derive
from ecgvf.janus import JanusModel, chat_prompt
from ecgvf.render.batches import RenderedImage


@dataclass(frozen=True, slots=True)
class RenderTask:
    """One image to render."""

    record_id: str
    role: Role
    prompt: str
    seed: int


def render_tasks(records: Sequence[PromptPair], seed: int, further: int = 0) -> list[RenderTask]:
    """The images to render for ``records``, in record order.

    Both roles of a pair have the same seed: the record's own if it has one, else derived from the run's ``seed`` and
    the record id. ``further`` selects one of the seeds after it: the run's is counted up, a record's own is hashed with
    ``further``.
    """
    return [
        RenderTask(pair.record_id, role, prompt, _seed(pair, seed, further))
        for pair in records
        for role, prompt in pair.prompts()
    ]


def _seed(pair: PromptPair, seed: int, further: int) -> int:
    if pair.seed is None:
        return derive(seed + further, pair.record_id, "render")
    return derive(further, str(pair.seed), "render") if further else pair.seed


class RenderShards:
    """The tasks of shards: ``records`` accepted rows of ``pairs`` each, a table of ``PromptPair``.

    A shard's records are made when the shard is due: a million of them take little memory as columns.
    """

    def __init__(self, pairs: pa.Table, records: int, seed: int, further: int) -> None:
        self._pairs, self._records = pairs.filter(pc.is_null(pairs["reason"])), records
        self._seed, self._further = seed, further

    def tasks(self, index: int) -> list[RenderTask]:
        """The images to render for the shard ``index``."""
        rows = self._pairs.slice(index * self._records, self._records)
        return render_tasks(from_table(PromptPair, rows), self._seed, self._further)

    def sizes(self) -> list[int]:
        """The number of images in each shard."""
        images = 1 + pc.is_valid(self._pairs["surrogate"]).to_numpy().astype(np.int64)
        starts = range(0, len(images), self._records)
        return [int(images[start : start + self._records].sum()) for start in starts]


def rendering_table(model: JanusModel, tasks: Sequence[RenderTask], images: Sequence[RenderedImage]) -> pa.Table:
    """A ``Rendering`` per task."""
    rows = [
        Rendering(
            record_id=task.record_id,
            role=task.role,
            seed=task.seed,
            renderer=model.fingerprint,
            prompt_sent=chat_prompt(model, task.prompt),
            image=image.image,
            vq_ids=image.vq_ids,
            failure=image.failure,
        )
        for task, image in zip(tasks, images, strict=True)
    ]
    return to_table(Rendering, rows)
