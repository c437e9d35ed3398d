"""Predictions for several images, of which one may spoil the batch."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ecgvf.core.errors import DeviceFailed, JudgeError, first_line
from ecgvf.judges.factory import is_judge
from ecgvf.judges.judge import Judge, Prediction

T = TypeVar("T")


def load_judge(judge: Judge) -> None:
    """Load the weights of a judge of this package, which some read only for their first image, and try it on an image.

    Raises ``JudgeError`` if they are missing or unusable, and ``DeviceFailed`` as ``predict_each`` does.
    """
    if not all(map(is_judge, judge.name.split("+"))):
        return
    black = np.zeros((64, 64, 3), np.uint8)
    [found] = predict_each(judge, [black], lambda images: judge.predict(np.stack(images)))
    if isinstance(found, str):
        raise JudgeError(f"judge {judge.name} fails on a plain image: {found}")


def predict_each(
    judge: Judge, images: Sequence[T], predict: Callable[[Sequence[T]], list[Prediction]]
) -> list[Prediction | str]:
    """One prediction per image, in order, or why ``predict``, which asks ``judge``, fails on that image alone.

    Raises ``DeviceFailed`` if no image is to blame: the GPU fails, or has no memory even for one image; ``JudgeError``
    unless ``predict`` returns a prediction per image.
    """
    if not images:
        return []
    try:
        predictions: list[Prediction | str] = [*predict(images)]
    except (OSError, ValueError, RuntimeError) as error:
        _check_device(judge, error, len(images))
        if len(images) == 1:
            return [first_line(error)]
    else:
        if len(predictions) != len(images):
            raise JudgeError(
                f"judge {judge.name} returned {len(predictions)} predictions for {len(images)} images: return one per "
                "image"
            )
        return predictions
    # Not in the handler: the error holds the frames that raised it, and with them the batch in the GPU's memory.
    return [prediction for image in images for prediction in predict_each(judge, [image], predict)]


def predict_all(
    judge: Judge,
    images: NDArray[np.uint8],
    prompts: Sequence[str],
    predict: Callable[[NDArray[np.uint8]], list[Prediction]],
) -> list[Prediction]:
    """One prediction per image of RGB uint8 [N, H, W, 3], in order.

    Raises ``JudgeError``, with its prompt, for an image that ``predict``, which asks ``judge``, fails on, and
    ``DeviceFailed`` as ``predict_each`` does.
    """
    predictions = []
    found = predict_each(judge, list(images), lambda batch: predict(np.stack(batch)))
    for prompt, seen in zip(prompts, found, strict=True):
        if isinstance(seen, str):
            raise JudgeError(f"judge {judge.name} fails on the image of {prompt!r}: {seen}")
        predictions.append(seen)
    return predictions


def _check_device(judge: Judge, error: Exception, images: int) -> None:
    from ecgvf.core.device import is_device_error, lacks_memory  # PyTorch takes seconds, and reviewing needs none

    if is_device_error(error) or (images == 1 and lacks_memory(error)):
        raise DeviceFailed(f"the device of judge {judge.name} failed: {first_line(error)}") from error
