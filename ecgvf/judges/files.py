"""Judging image files: ``ecgvf judge``, and the threshold that best separates known images."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ecgvf.core.errors import JudgeError, SettingsError, StoreCorrupt, first_line
from ecgvf.core.files import read_json
from ecgvf.core.png import to_rgb
from ecgvf.judges.judge import Judge, Prediction
from ecgvf.judges.predictions import predict_each

MAX_IMAGES, MAX_PIXELS = 32, 2**24
"""Per batch."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})

# What Pillow raises for a file that is no image, or that it cannot read.
_UNREADABLE = (OSError, SyntaxError, ValueError, NotImplementedError, Image.DecompressionBombError)


@dataclass(frozen=True, slots=True)
class Threshold:
    """The score that best separates images with the concept from images without it."""

    value: float
    balanced_accuracy: float
    """Mean of the true positive rate and the true negative rate on these very images."""
    positives: int
    """Images with the concept."""
    negatives: int


def files_in(paths: Sequence[Path]) -> list[Path]:
    """The files, and the images in the folders, sorted per folder. Raises ``SettingsError`` for an empty folder."""
    files: list[Path] = []
    for path in paths:
        try:
            is_folder = path.is_dir()
        except OSError as error:
            raise SettingsError(f"{str(path)[:80]}: {error.strerror}") from error
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES) if is_folder else [path]
        if not found:
            raise SettingsError(f"no images in {path}: name a folder that contains some")
        files += found
    return files


def renderer_of(files: Sequence[Path]) -> str | None:
    """The model that rendered all of ``files``, if they are in folders of `ear generate --prompts`, which name it."""
    models = {_renderer_in(folder) for folder in {file.absolute().parent.parent for file in files}}
    return models.pop() if len(models) == 1 else None


def _renderer_in(folder: Path) -> str | None:
    with suppress(OSError, StoreCorrupt):  # somebody else's file
        model = read_json(folder / "shards" / "manifest.json").get("model")
        return model if isinstance(model, str) else None
    return None


def predict_files(judge: Judge, files: Sequence[Path]) -> Iterator[tuple[Path, Prediction | str]]:
    """A judge's prediction for each image, in order, or the reason why there is none.

    Consecutive images of one size are batched, up to ``MAX_IMAGES`` and ``MAX_PIXELS``. Raises ``DeviceFailed``.
    """
    decoded: Iterator[tuple[Path, Any]] = ((file, _decode(file)) for file in files)
    for shape, group in groupby(decoded, key=lambda item: getattr(item[1], "shape", None)):
        if shape is None:
            yield from group
            continue
        size = max(1, min(MAX_IMAGES, MAX_PIXELS // (shape[0] * shape[1])))
        while batch := list(islice(group, size)):
            yield from _predict_batch(judge, batch)


def best_threshold(judge: Judge, positives: Sequence[Path], negatives: Sequence[Path]) -> Threshold:
    """The threshold with the best balanced accuracy on known images, about halfway between the two scores around it.

    ``judge`` has a threshold of 0: what it sees is then decided by its other conditions, such as a top-k, alone. Raises
    ``JudgeError`` for an image that cannot be read or judged.
    """
    present, absent = _scores(judge, positives), _scores(judge, negatives)
    scores = np.unique(np.concatenate([present, absent, [0.0, 1.0]]))
    cuts = (scores[1:] + scores[:-1]) / 2
    accuracies = [(float((present >= cut).mean()) + float((absent < cut).mean())) / 2 for cut in cuts]
    # The middle one of the equally good cuts has the widest margin on both sides.
    best = np.flatnonzero(np.equal(accuracies, max(accuracies)))
    index = best[len(best) // 2]
    low, high = float(scores[index]), float(scores[index + 1])
    return Threshold(_shortest(low, high), accuracies[index], len(present), len(absent))


def _shortest(low: float, high: float) -> float:
    """About halfway between ``low`` and ``high``, with as few digits as stay between them."""
    middle = (low + high) / 2
    return next((value for digits in range(2, 17) if low < (value := round(middle, digits)) < high), middle)


def _scores(judge: Judge, files: Sequence[Path]) -> NDArray[np.float64]:
    scores = []
    for file, prediction in predict_files(judge, files):
        if isinstance(prediction, str):
            raise JudgeError(f"{file} {prediction}")
        # No threshold makes the concept present where another condition fails.
        scores.append(prediction.score if prediction.present else 0.0)
    return np.array(scores)


def _predict_batch(judge: Judge, batch: Sequence[tuple[Path, Any]]) -> Iterator[tuple[Path, Prediction | str]]:
    found = predict_each(judge, batch, lambda some: judge.predict(np.stack([pixels for _, pixels in some])))
    for (file, _), each in zip(batch, found, strict=True):
        yield file, f"could not be judged: {each[:200]}" if isinstance(each, str) else each


def _decode(file: Path) -> NDArray[np.uint8] | str:
    """RGB [H, W, 3] as people see it, or the reason why it cannot be read."""
    try:
        with Image.open(file) as image:
            return np.asarray(to_rgb(ImageOps.exif_transpose(image)))  # cameras store a rotation
    except _UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        return f"cannot be read: {reason}"
