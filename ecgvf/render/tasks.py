"""From records to images to render, and from images to ``Rendering`` rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from ecgvf.core.records import PromptPair, Rendering, Role, to_table
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


def render_tasks(records: Sequence[PromptPair], seed: int) -> list[RenderTask]:
    """The images of ``records`` in record order; both roles of a pair have one seed, derived from the run's ``seed``
    and the record id unless the record brings its own."""
    return [
        RenderTask(
            pair.record_id, role, prompt, derive(seed, pair.record_id, "render") if pair.seed is None else pair.seed
        )
        for pair in records
        for role, prompt in pair.prompts()
    ]


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
