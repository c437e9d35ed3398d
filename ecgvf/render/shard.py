"""Render one shard in fixed batches; a prompt that fails gets a row with the reason instead of an image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ecgvf.core.errors import EcgvfError, ModelError, SettingsError
from ecgvf.core.png import encode
from ecgvf.core.records import PromptPair, Rendering, Role
from ecgvf.core.seeds import derive
from ecgvf.janus import JanusModel, Sampling, chat_prompt, generation_ids, render_images


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


def render_shard(
    janus: JanusModel,
    tasks: Sequence[RenderTask],
    sampling: Sampling,
    batch_size: int,
    advance: Callable[[int], object],
) -> list[Rendering]:
    """One row per task, in order. ``advance`` is called with the number of tasks that were done since the last call.

    Raises ``SettingsError`` if a batch does not fit in memory.
    """
    refused = [_refused(janus, task) for task in tasks]
    renderable = [task for task, row in zip(tasks, refused, strict=True) if row is None]
    advance(len(tasks) - len(renderable))
    rows: list[Rendering] = []
    for start in range(0, len(renderable), batch_size):
        batch = renderable[start : start + batch_size]
        rows += _render_batch(janus, batch, sampling)
        advance(len(batch))
    rendered = iter(rows)
    return [next(rendered) if row is None else row for row in refused]


def _refused(janus: JanusModel, task: RenderTask) -> Rendering | None:
    """The failed row of a prompt that the model does not accept, found before the prompt breaks a batch; else None."""
    try:
        generation_ids(janus, [task.prompt])
    except ModelError as error:
        return _row(janus, task, failure=str(error))
    return None


def _render_batch(janus: JanusModel, tasks: Sequence[RenderTask], sampling: Sampling) -> list[Rendering]:
    prompts, seeds = [task.prompt for task in tasks], [task.seed for task in tasks]
    try:
        images = render_images(janus, prompts, seeds, sampling, batch_size=len(tasks))
    except torch.OutOfMemoryError as error:
        raise SettingsError(
            f"{janus.device} has no memory for {len(tasks)} images at once: run again with a smaller --batch-size"
        ) from error
    except (RuntimeError, ValueError, EcgvfError) as error:
        if len(tasks) == 1:
            return [_row(janus, tasks[0], failure=(str(error) or type(error).__name__).splitlines()[0])]
        # One of the tasks breaks the batch: rendered alone, only that one fails.
        return [row for task in tasks for row in _render_batch(janus, [task], sampling)]
    return [
        _row(janus, task, image=encode(pixels), vq_ids=tuple(ids.tolist()))
        for task, ids, pixels in zip(tasks, images.vq_ids, images.pixels, strict=True)
    ]


def _row(
    janus: JanusModel,
    task: RenderTask,
    *,
    image: bytes = b"",
    vq_ids: tuple[int, ...] = (),
    failure: str | None = None,
) -> Rendering:
    return Rendering(
        record_id=task.record_id,
        role=task.role,
        seed=task.seed,
        renderer=janus.fingerprint,
        prompt_sent=chat_prompt(janus, task.prompt),
        image=image,
        vq_ids=vq_ids,
        failure=failure,
    )
