"""What a judge sees in picture files: ``ecgvf judge``, and the threshold that parts known pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ecgvf.core.errors import JudgeError, SettingsError
from ecgvf.judges.judge import Judge, Prediction

MOST_PICTURES, MOST_PIXELS = 32, 2**24
"""That go through a judge together."""

_UNREADABLE = (OSError, SyntaxError, ValueError, NotImplementedError, Image.DecompressionBombError)
"""What Pillow raises for files that are no pictures, or that it cannot read."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class Threshold:
    """The score that best parts pictures with the concept from pictures without it."""

    value: float
    balanced_accuracy: float
    """Mean of the shares of both kinds that fall on their side, on these very pictures."""
    shown: int
    """Pictures with the concept."""
    not_shown: int


def predict_files(judge: Judge, files: Sequence[Path]) -> Iterator[tuple[Path, Prediction | str]]:
    """What a judge sees in each picture, in their order; a picture that cannot be read says why instead.

    Neighbours of one size go through the judge together, as many as ``MOST_PIXELS`` allow.
    """
    waiting: list[tuple[Path, NDArray[np.uint8]]] = []
    for file in files:
        try:
            pixels = _pixels(file)
        except _UNREADABLE as error:
            yield from _looked(judge, waiting)
            waiting = []
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            yield file, f"cannot be read: {reason.splitlines()[0] if reason else type(error).__name__}"
            continue
        full = len(waiting) == MOST_PICTURES or (1 + len(waiting)) * pixels.size > 3 * MOST_PIXELS
        if waiting and (full or waiting[0][1].shape != pixels.shape):
            yield from _looked(judge, waiting)
            waiting = []
        waiting.append((file, pixels))
    yield from _looked(judge, waiting)


def files_in(places: Sequence[Path]) -> list[Path]:
    """Files as they are, folders as the pictures in them, sorted. Raises ``SettingsError`` for an empty folder."""
    found: list[Path] = []
    for place in places:
        try:
            folder = place.is_dir()
        except OSError as error:
            raise SettingsError(f"{str(place)[:80]}: {error.strerror}") from error
        inside = sorted(file for file in place.rglob("*") if file.suffix.lower() in SUFFIXES) if folder else [place]
        if not inside:
            raise SettingsError(f"no pictures in {place}: name a folder that has some")
        found += inside
    return found


def threshold(judge: Judge, shown: Sequence[Path], not_shown: Sequence[Path]) -> Threshold:
    """The threshold of a judge's score that parts known pictures best, halfway between the two scores it lies between.

    Raises ``JudgeError`` for a picture that cannot be read: what it teaches would be wrong.
    """
    scores: list[list[float]] = []
    for files in (shown, not_shown):
        scores.append([])
        for file, reading in predict_files(judge, files):
            if isinstance(reading, str):
                raise JudgeError(f"{file} {reading}")
            scores[-1].append(reading.score)
    inside, outside = (np.array(one) for one in scores)
    known = np.unique(np.concatenate([inside, outside, [0.0, 1.0]]))
    between = (known[1:] + known[:-1]) / 2
    quality = [(float((inside >= cut).mean()) + float((outside < cut).mean())) / 2 for cut in between]
    # Of equally good ones the middle one: the widest margin on both sides.
    best = [place for place, one in enumerate(quality) if one == max(quality)]
    chosen = best[len(best) // 2]
    return Threshold(float(between[chosen]), quality[chosen], len(inside), len(outside))


def _looked(judge: Judge, waiting: Sequence[tuple[Path, NDArray[np.uint8]]]) -> Iterator[tuple[Path, Prediction | str]]:
    if waiting:
        files = [file for file, _ in waiting]
        try:
            readings: list[Prediction | str] = list(judge.predict(np.stack([pixels for _, pixels in waiting])))
        except RuntimeError as error:  # what a network raises: too little memory, a picture that it cannot take
            readings = [f"could not be judged: {' '.join(str(error).split())[:200]}"] * len(files)
        yield from zip(files, readings, strict=True)


def _pixels(file: Path) -> NDArray[np.uint8]:
    with Image.open(file) as image:
        if image.mode.startswith(("I", "F")):  # converted, they would be cut off at 255
            raise ValueError(f"its pixels are no bytes (mode {image.mode}): save it with 8 bits a channel")
        # Cameras store a turn beside the picture; a judge sees it as people do.
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
