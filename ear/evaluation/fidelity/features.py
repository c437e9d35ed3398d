"""Feature sets, with a row per image: kept in the store and read a shard at a time."""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image

from ear.evaluation.fidelity.encoders import Encoders
from ear.evaluation.images import SHARD
from ecgvf.core import console
from ecgvf.core.errors import DatasetError
from ecgvf.core.files import JSON
from ecgvf.core.png import decode
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import ShardSet, fingerprint
from ecgvf.core.stage_set import Stage, StageSet
from ecgvf.janus import num_threads

STAGE = Stage("features", "ear eval --figures paper")
BATCH = 16
"""Images at once: float32 Inception on a CPU gains nothing from more."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FeatureSet:
    """A finished set of N images' features."""

    shards: ShardSet
    n: int

    def batches(self) -> Iterator[Floats]:
        """Features float64 [n, D], a shard at a time."""
        for table in self.shards.tables():
            column = table["features"].combine_chunks()
            yield column.flatten().to_numpy().reshape(table.num_rows, -1).astype(np.float64)

    def subsets(self, size: int) -> Iterator[Floats]:
        """Disjoint subsets of consecutive images, float64 [size, D]; images left over at the end are dropped."""
        held: list[Floats] = []
        for batch in self.batches():
            held.append(batch)
            while sum(map(len, held)) >= size:
                rows = np.concatenate(held)
                yield rows[:size]
                held = [rows[size:]]

    def cosines(self) -> list[float]:
        """CLIP's cosine of each image and its text."""
        return [value for table in self.shards.tables() for value in table["clip"].to_pylist()]


def image_features(
    run: ConceptRun, encoders: Encoders, images: StageSet, texts: Sequence[str], *, jpeg: bool = False
) -> FeatureSet:
    """Features of rendered ``images``, and CLIP's cosine of image i and ``texts[i]``.

    ``jpeg``: the images go through JPEG first. Shards of features correspond to shards of images.
    """
    settings = {"pictures": images.fingerprint, "texts": fingerprint({"texts": list(texts)}), "jpeg": jpeg}

    def load(rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        index = rows[0] // SHARD
        pixels = [decode(image) for image in images.read_shard(index)["image"].to_pylist()]
        return [_through_jpeg(each) for each in pixels] if jpeg else pixels

    return _filled(run, encoders, settings, len(texts), load, texts, "features of the images")


def picture_features(run: ConceptRun, encoders: Encoders, pictures: Sequence[Path | bytes]) -> FeatureSet:
    """Features of reference pictures. Raises ``DatasetError`` for a picture that cannot be read."""
    settings = {"pictures": _hash_of(pictures), "texts": None}

    def load(rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        return [_pixels(pictures[row]) for row in rows]

    return _filled(run, encoders, settings, len(pictures), load, None, "features of the reference pictures")


def _filled(
    run: ConceptRun,
    encoders: Encoders,
    settings: Mapping[str, Any],
    n: int,
    load: Callable[[Sequence[int]], list[NDArray[np.uint8]]],
    texts: Sequence[str] | None,
    description: str,
) -> FeatureSet:
    settings = {**settings, "encoder": encoders.features_hash, "layout": encoders.label, "resizing": encoders.resizing}
    if texts is not None:
        settings["clip"] = encoders.clip.weights_hash
    stage_set = run.stage_set(STAGE, settings)

    def work(rows: Sequence[int], recorded: JSON, advance: Callable[[int], None]) -> pa.Table:
        features, cosines = [], []
        with num_threads(recorded["threads"]):
            pixels = load(rows)
            for start in range(0, len(rows), BATCH):
                batch = pixels[start : start + BATCH]
                features.append(encoders.encode(batch))
                if texts is not None:
                    cosines += encoders.cosines(batch, [texts[row] for row in rows[start : start + BATCH]]).tolist()
                advance(len(batch))
        matrix = np.concatenate(features)
        column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])
        return pa.table({"features": column, "clip": pa.array(cosines or [None] * len(rows), pa.float32())})

    shards = [range(start, min(start + SHARD, n)) for start in range(0, n, SHARD)]
    circumstances = {"threads": torch.get_num_threads(), "device": encoders.device.type}
    stage_set.fill(shards, work, description=description, circumstances=circumstances)
    stage_set.finish({"images": n}, current=False)
    return FeatureSet(stage_set, n)


def _pixels(picture: Path | bytes) -> NDArray[np.uint8]:
    try:
        return decode(picture if isinstance(picture, bytes) else picture.read_bytes())
    except OSError as error:
        name = picture if isinstance(picture, Path) else "a picture"
        raise DatasetError(f"{name} cannot be read as an image ({error}): replace it, or remove its caption") from error


def _through_jpeg(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB [H, W, 3] after JPEG of Pillow's default quality, 75."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG")
    return decode(buffer.getvalue())


def _hash_of(pictures: Sequence[Path | bytes]) -> str:
    """12 hex digits: a hash of the contents of ``pictures`` in their order."""
    digest = hashlib.sha256()
    with console.progress("reading the reference pictures", len(pictures)) as bar:
        for picture in pictures:
            try:
                data = picture if isinstance(picture, bytes) else picture.read_bytes()
            except OSError as error:
                raise DatasetError(f"cannot read {picture!s}: {error.strerror}") from error
            digest.update(hashlib.sha256(data).digest())
            bar.advance()
    return digest.hexdigest()[:12]
