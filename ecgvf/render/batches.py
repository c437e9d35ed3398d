"""Render prompts into shards, in fixed batches; a prompt that fails gets a reason instead of an image."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgvf.core import console
from ecgvf.core.device import device_errors, is_device_error, lacks_memory
from ecgvf.core.errors import DatasetError, EcgvfError, ModelError, first_line
from ecgvf.core.files import JSON
from ecgvf.core.png import encode
from ecgvf.core.shard_set import Advance, BatchTooLarge, ShardSet
from ecgvf.engine import Description, FillPlan, ThisProcess
from ecgvf.janus import JanusModel, Sampling, generation_ids, num_threads, render_images


class ImageTask(Protocol):
    """One image to render."""

    @property
    def prompt(self) -> str: ...

    @property
    def seed(self) -> int: ...


T = TypeVar("T", bound=ImageTask)

_ENCODERS = {"cpu": 1, "cuda": 8}
"""Threads that encode PNGs. A GPU would wait for a single one, and on a CPU the model needs the others."""


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """The image of a prompt, or why there is none."""

    image: bytes = b""
    """PNG; empty if it failed."""
    vq_ids: tuple[int, ...] = ()
    """T image tokens; empty if it failed."""
    failure: str | None = None
    """The reason, in one line."""


class ImageWorker:
    """Renders shards of prompts.

    ``table`` makes the rows of a shard from its tasks and images. ``facts`` are added to the description's. ``prefix``
    gives the ``prefix`` of ``render_images`` for tasks that are rendered together; each row must depend on its task
    alone.
    """

    def __init__(
        self,
        model: JanusModel,
        sampling: Sampling,
        table: Callable[[JanusModel, Sequence[Any], list[RenderedImage]], pa.Table],
        facts: JSON | None = None,
        prefix: Callable[[Sequence[Any]], Tensor | None] = lambda tasks: None,
    ) -> None:
        self._model, self._sampling, self._table, self._facts = model, sampling, table, facts or {}
        self._prefix = prefix

    @property
    def description(self) -> Description:
        """The model and its sampling as facts; a batch size for the memory that is free now, threads and device."""
        facts = {
            "name": self._model.name,
            "renderer": self._model.fingerprint,
            "dtype": self._model.dtype_name,
            "sampling": asdict(self._sampling),
            "raw_control_tokens": self._model.raw_control_tokens,
            **self._facts,
        }
        circumstances = {
            "batch_size": self._model.default_batch_size(),
            "threads": torch.get_num_threads(),
            "device": self._model.device.type,
        }
        return Description(facts, circumstances)

    def __call__(self, tasks: Sequence[ImageTask], circumstances: JSON, advance: Advance) -> pa.Table:
        """The table of a shard. Raises ``BatchTooLarge``, ``SettingsError`` if not even one image fits, and
        ``DeviceFailed``."""
        size = int(circumstances["batch_size"])
        with device_errors(self._model.device, f"render even one image with {self._model.name}"):
            try:
                with num_threads(circumstances["threads"]):
                    images = render_prompts(self._model, tasks, self._sampling, size, advance, self._prefix)
                    return self._table(self._model, tasks, images)
            except RuntimeError as error:
                tried = min(size, len(tasks))
                if tried == 1 or not lacks_memory(error):
                    raise
                raise BatchTooLarge(size, tried) from error


def image_fill_plan(
    name: str,
    shard_set: ShardSet,
    tasks: Callable[[int], Sequence[ImageTask]],
    sizes: Sequence[int],
    *,
    description: str,
    batch_size: int | None = None,
    **circumstances: Any,
) -> FillPlan:
    """The plan to fill ``shard_set`` by the ``ImageWorker`` of the setup ``name``.

    ``tasks`` and ``sizes`` as in ``FillPlan``. ``batch_size`` (None: the worker's own) and the number of threads are
    recorded with the set before its first batch, and reused on resume. If a batch does not fit in memory, its shard is
    rendered in batches of half the size, which is recorded, too.
    """
    recorded = shard_set.circumstances if shard_set.shards() else {}
    if batch_size is not None and not shard_set.finished and recorded.get("batch_size", batch_size) != batch_size:
        console.note(
            f"this set has batches of {recorded['batch_size']} and resumes with them: --batch-size is for new sets"
        )
    return FillPlan(
        setup=name,
        shard_set=shard_set,
        tasks=tasks,
        sizes=sizes,
        description=description,
        circumstances=circumstances | ({} if batch_size is None else {"batch_size": batch_size}),
    )


def fill_with_images(
    shard_set: ShardSet,
    shards: Sequence[Sequence[T]],
    model: JanusModel,
    sampling: Sampling,
    table: Callable[[Sequence[T], list[RenderedImage]], pa.Table],
    *,
    description: str,
    batch_size: int | None = None,
    prefix: Callable[[Sequence[T]], Tensor | None] = lambda tasks: None,
) -> int:
    """Render the missing ``shards`` in this process, with a loaded model; return the number of images rendered.

    ``table`` and ``prefix`` as in ``ImageWorker``, whose errors are raised; ``batch_size`` as in ``image_fill_plan``.
    """
    worker = ImageWorker(model, sampling, lambda _, tasks, images: table(tasks, images), prefix=prefix)
    plan = image_fill_plan(
        "images",
        shard_set,
        lambda index: shards[index],
        [len(shard) for shard in shards],
        description=description,
        batch_size=batch_size,
    )
    with ThisProcess().open({"images": lambda: nullcontext(worker)}) as pool:
        [rendered] = pool.fill(plan)
    return rendered


def render_prompts(
    model: JanusModel,
    tasks: Sequence[T],
    sampling: Sampling,
    batch_size: int,
    advance: Callable[[int], object],
    prefix: Callable[[Sequence[T]], Tensor | None] = lambda tasks: None,
) -> list[RenderedImage]:
    """One image per task, in order. ``advance`` is called with the number of tasks done since the last call.

    Raises an error that ``lacks_memory`` if a batch does not fit.
    """
    refusals = [refusal(model, task.prompt) for task in tasks]
    images = [None if reason is None else RenderedImage(failure=reason) for reason in refusals]
    advance(sum(image is not None for image in images))
    accepted = [index for index, image in enumerate(images) if image is None]
    # PNGs are encoded while the next batch is rendered.
    with ThreadPoolExecutor(_ENCODERS[model.device.type]) as encoder:
        encoded: list[Future[RenderedImage]] = []
        for start in range(0, len(accepted), batch_size):
            batch = [tasks[index] for index in accepted[start : start + batch_size]]
            encoded += _render_batch(model, batch, sampling, encoder, prefix)
            advance(len(batch))
        for index, future in zip(accepted, encoded, strict=True):
            images[index] = future.result()
    return [image for image in images if image is not None]


def refusal(model: JanusModel, prompt: str) -> str | None:
    """Why ``model`` refuses a prompt (empty, or too long), found before it breaks a batch; None if accepted."""
    try:
        generation_ids(model, [prompt])
    except ModelError as error:
        return str(error)
    return None


def refuse_failures(tasks: Sequence[ImageTask], images: Sequence[RenderedImage]) -> None:
    """Raise ``DatasetError`` for a prompt that has no image, where nothing can be done without it."""
    for task, image in zip(tasks, images, strict=True):
        if image.failure is not None:
            raise DatasetError(f"the prompt {task.prompt!r} cannot be rendered: {image.failure}")


def _render_batch(
    model: JanusModel,
    tasks: Sequence[T],
    sampling: Sampling,
    encoder: ThreadPoolExecutor,
    prefix: Callable[[Sequence[T]], Tensor | None],
) -> list[Future[RenderedImage]]:
    prompts, seeds = [task.prompt for task in tasks], [task.seed for task in tasks]
    try:
        images = render_images(model, prompts, seeds, sampling, prefix=prefix(tasks), batch_size=len(tasks))
    except (RuntimeError, ValueError, EcgvfError) as error:
        if lacks_memory(error) or is_device_error(error):
            raise
        if len(tasks) == 1:
            return [encoder.submit(RenderedImage, failure=first_line(error))]
    else:
        columns = zip(images.pixels, images.vq_ids, images.finite, strict=True)
        return [encoder.submit(_encode, *row) for row in columns]
    # One of the tasks breaks the batch: rendered alone, only that one fails. Not in the handler: the error holds the
    # frames that raised it, and with them the batch in the GPU's memory.
    return [image for task in tasks for image in _render_batch(model, [task], sampling, encoder, prefix)]


def _encode(pixels: NDArray[np.uint8], vq_ids: NDArray[np.int64], finite: bool) -> RenderedImage:
    if not finite:
        return RenderedImage(failure="the model's logits or pixels are not finite (NaN or infinity)")
    return RenderedImage(encode(pixels), tuple(vq_ids.tolist()))
