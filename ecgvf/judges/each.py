"""Predictions for several images, of which one may spoil the batch."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from ecgvf.core.errors import DeviceFailed, first_line
from ecgvf.judges.judge import Judge, Prediction

T = TypeVar("T")


def predict_each(
    judge: Judge, images: Sequence[T], predict: Callable[[Sequence[T]], list[Prediction]]
) -> list[Prediction | str]:
    """One prediction per image, in order, or why ``predict``, which asks ``judge``, fails on that image alone.

    Raises ``DeviceFailed`` if no image is to blame: the GPU fails, or has no memory even for one image.
    """
    if not images:
        return []
    try:
        found: list[Prediction | str] = [*predict(images)]
    except (OSError, ValueError, RuntimeError) as error:
        _check_device(judge, error, len(images))
        if len(images) == 1:
            return [first_line(error)]
        return [prediction for image in images for prediction in predict_each(judge, [image], predict)]
    return found


def _check_device(judge: Judge, error: Exception, images: int) -> None:
    import torch  # takes seconds, and reviewing needs none

    from ecgvf.core.device import is_device_error

    no_memory = isinstance(error, torch.OutOfMemoryError) and images == 1
    if no_memory or is_device_error(error):
        raise DeviceFailed(f"the device of judge {judge.name} failed: {first_line(error)}") from error
