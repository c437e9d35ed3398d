"""Render prompts into shards, in fixed batches; a prompt that fails gets a reason instead of an image."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from ecgvf.core import console
from ecgvf.core.errors import DatasetError, EcgvfError, ModelError, SettingsError
from ecgvf.core.files import JSON
from ecgvf.core.png import encode
from ecgvf.core.shard_set import ShardSet
from ecgvf.janus import GenerationOptions, JanusModel, Sampling, generation_ids, num_threads, render_images


class ImageTask(Protocol):
    """What is rendered."""

    @property
    def prompt(self) -> str: ...

    @property
    def seed(self) -> int: ...


T = TypeVar("T", bound=ImageTask)


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """What became of a prompt."""

    image: bytes = b""
    """PNG; empty if it failed."""
    vq_ids: tuple[int, ...] = ()
    """T image tokens; none if it failed."""
    failure: str | None = None
    """The reason, in one line."""


def fill_with_images(
    shard_set: ShardSet,
    shards: Sequence[Sequence[T]],
    model: JanusModel,
    sampling: Sampling,
    table: Callable[[Sequence[T], list[RenderedImage]], pa.Table],
    *,
    description: str,
    batch_size: int | None = None,
    options: Callable[[Sequence[T]], GenerationOptions] = lambda tasks: GenerationOptions(),
    **circumstances: Any,
) -> int:
    """Render the missing ``shards``; ``table`` makes the rows of one. Returns the number of images rendered.

    ``options`` are those of some tasks, rendered together; each task's must depend on itself alone.

    ``batch_size`` (None: the model's own) and the number of threads are recorded with the set before its first batch,
    and reused on resume. If a batch does not fit in memory, its shard is rendered in batches of half the size, which
    is recorded, too; raises ``SettingsError`` if not even one image fits.
    """
    recorded = shard_set.circumstances if shard_set.shards() else {}
    if batch_size is not None and not shard_set.finished and recorded.get("batch_size", batch_size) != batch_size:
        console.note(f"this set was begun with --batch-size {recorded['batch_size']} and resumes with it")

    def work(tasks: Sequence[T], recorded: JSON, advance: Callable[[int], None]) -> pa.Table:
        counted = _Progress(advance)
        while True:
            size = int(shard_set.circumstances["batch_size"])
            try:
                with num_threads(recorded["threads"]):
                    return table(tasks, render_prompts(model, tasks, sampling, size, counted.start(), options))
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise SettingsError(f"{model.device} has no memory for one image of {model.name}") from error
                console.note(f"no memory for {size} images at once: going on with {size // 2}")
                halved = [*recorded.get("halved", []), [len(shard_set.shards()), size // 2]]
                recorded = shard_set.change_circumstances(batch_size=size // 2, halved=halved)

    circumstances |= {
        "batch_size": batch_size or model.default_batch_size(),
        "threads": torch.get_num_threads(),
        "device": model.device.type,
    }
    return shard_set.fill(shards, work, description=description, circumstances=circumstances)


def render_prompts(
    model: JanusModel,
    tasks: Sequence[T],
    sampling: Sampling,
    batch_size: int,
    advance: Callable[[int], object],
    options: Callable[[Sequence[T]], GenerationOptions] = lambda tasks: GenerationOptions(),
) -> list[RenderedImage]:
    """One image per task, in order. ``advance`` is called with the number of tasks done since the last call.

    Raises ``torch.OutOfMemoryError`` if a batch does not fit in memory.
    """
    images = [_refused(model, task.prompt) for task in tasks]
    advance(sum(image is not None for image in images))
    accepted = [index for index, image in enumerate(images) if image is None]
    with ThreadPoolExecutor(max_workers=1) as encoder:  # PNGs are encoded while the next batch is rendered
        encoded: list[Future[RenderedImage]] = []
        for start in range(0, len(accepted), batch_size):
            batch = [tasks[index] for index in accepted[start : start + batch_size]]
            encoded += _render_batch(model, batch, sampling, encoder, options)
            advance(len(batch))
        for index, future in zip(accepted, encoded, strict=True):
            images[index] = future.result()
    return [image for image in images if image is not None]


def refuse_failures(tasks: Sequence[ImageTask], images: Sequence[RenderedImage]) -> None:
    """Raise ``DatasetError`` for a prompt that has no image, where nothing can be done without it."""
    for task, image in zip(tasks, images, strict=True):
        if image.failure is not None:
            raise DatasetError(f"the prompt {task.prompt!r} cannot be rendered: {image.failure}")


def _refused(model: JanusModel, prompt: str) -> RenderedImage | None:
    """The failure of a prompt that the model does not accept, found before the prompt breaks a batch; else None."""
    try:
        generation_ids(model, [prompt])
    except ModelError as error:
        return RenderedImage(failure=str(error))
    return None


def _render_batch(
    model: JanusModel,
    tasks: Sequence[T],
    sampling: Sampling,
    encoder: ThreadPoolExecutor,
    options: Callable[[Sequence[T]], GenerationOptions],
) -> list[Future[RenderedImage]]:
    prompts, seeds = [task.prompt for task in tasks], [task.seed for task in tasks]
    try:
        images = render_images(model, prompts, seeds, sampling, options=options(tasks), batch_size=len(tasks))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, EcgvfError) as error:
        if len(tasks) == 1:
            return [encoder.submit(RenderedImage, failure=(str(error) or type(error).__name__).splitlines()[0])]
        # One of the tasks breaks the batch: rendered alone, only that one fails.
        return [image for task in tasks for image in _render_batch(model, [task], sampling, encoder, options)]
    columns = zip(images.pixels, images.vq_ids, images.finite, strict=True)
    return [encoder.submit(_encode, *row) for row in columns]


def _encode(pixels: NDArray[np.uint8], vq_ids: NDArray[np.int64], finite: bool) -> RenderedImage:
    if not finite:
        return RenderedImage(failure="the model's logits are not finite (NaN or infinity)")
    return RenderedImage(encode(pixels), tuple(vq_ids.tolist()))


class _Progress:
    """Counts a shard's images once, even if the shard is rendered again in smaller batches."""

    def __init__(self, advance: Callable[[int], object]) -> None:
        self._advance, self._reported, self._done = advance, 0, 0

    def start(self) -> Callable[[int], None]:
        """The ``advance`` of a new attempt."""
        self._done = 0
        return self._count

    def _count(self, images: int) -> None:
        self._done += images
        if self._done > self._reported:
            self._advance(self._done - self._reported)
            self._reported = self._done
