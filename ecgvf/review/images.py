"""The images to label: rows of a Parquet file of outcomes, sampled and shuffled by a seed."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecgvf.core.errors import DatasetError, SettingsError
from ecgvf.core.png import decode
from ecgvf.core.seeds import derive
from ecgvf.review.labels import ImageKey

CONDITIONS = ("before", "after")
"""The conditions whose images are labelled: from the original and from the erased model."""

_COLUMNS = {"id": pa.string(), "condition": pa.string(), "seed": pa.int64(), "concept": pa.string()}
_COLUMNS |= {"surrogate": pa.string(), "image": pa.binary()}

_BATCH = 64
"""Rows whose images are in memory at once: a file may be larger than memory."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a row says about its image."""

    id: str
    condition: str
    seed: int
    concept: str
    surrogate: str


@dataclass(frozen=True, slots=True)
class BlindImage:
    """An image to label, and what its choices are called: all that a reviewer may see of its row."""

    key: ImageKey
    concept: str
    surrogate: str
    file: Path = field(compare=False)
    """An image file; outcomes have PNG."""


class ImageRows:
    """The rows of a Parquet ``file`` whose images can be labelled: before and after, with a surrogate and an image.

    Columns: ``id``, ``condition``, ``concept``, ``surrogate`` (text), ``seed`` (int64) and ``image`` (bytes of an image
    file); ``judges`` and ``sample`` if there are any. Others are not read. If there is a ``sample``, only ``main``
    counts: "after" is also the condition of images under attack. Raises ``DatasetError`` for a file without these
    columns or without such rows.
    """

    def __init__(self, file: Path) -> None:
        self.path = file
        try:
            self._parquet = pq.ParquetFile(file)
            self._check_columns()
            self._rows = self._read_rows()
        except FileNotFoundError:
            raise DatasetError(f"there is no file {file}") from None
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{file} is not a Parquet file, or it is damaged: export it again") from error
        if not self._rows:
            raise DatasetError(
                f"{file} has no image, before or after erasing, of a record with a surrogate: export it with its images"
            )

    def sample(self, size: int | None, seed: int, folder: Path) -> list[BlindImage]:
        """``size`` images, as many of each condition, shuffled by ``seed``; None takes all.

        Their files are copied to ``folder``: reading a single image of a Parquet file takes as long as a thousand.
        A larger sample of the same seed contains a smaller one, and the order of the file does not matter. An image
        that the file repeats counts once. Raises ``SettingsError`` if there are not enough, ``DatasetError`` for a
        damaged image.
        """
        shuffled = sorted(self._rows, key=lambda number: self._rank(number, seed))
        chosen = set(shuffled if size is None else self._balanced(shuffled, size))
        keys = {number: self._copy(number, file, folder) for number, file in self._images(chosen)}
        blind = {}
        for number in shuffled:
            if number in chosen:
                row, key = self._rows[number], keys[number]
                blind[key] = BlindImage(key, row.concept, row.surrogate, folder / key.image)
        return list(blind.values())

    def judged(self, keys: Collection[ImageKey]) -> dict[ImageKey, tuple[str, Any]]:
        """Image → (surrogate, ``judges``), for the ``keys`` in the file; ``judges`` is None without this column."""
        named = {(key.id, key.condition, key.seed) for key in keys}
        numbers = {number for number, row in self._rows.items() if (row.id, row.condition, row.seed) in named}
        judges: dict[int, Any] = {}
        if "judges" in self._parquet.schema_arrow.names:
            judges = dict(enumerate(self._parquet.read(columns=["judges"])["judges"].to_pylist()))
        images = ((_key(self._rows[number], file), number) for number, file in self._images(numbers))
        return {key: (self._rows[number].surrogate, judges.get(number)) for key, number in images if key in keys}

    def _check_columns(self) -> None:
        schema = self._parquet.schema_arrow
        if missing := [name for name in _COLUMNS if schema.names.count(name) != 1]:
            raise DatasetError(f"{self.path} has no column {missing[0]!r}: export it with `ear eval --outcomes FILE`")
        if "binary" not in str(kind := schema.field("image").type):
            raise DatasetError(f"{self.path}: the column 'image' holds {kind}: it needs the bytes of image files")

    def _read_rows(self) -> dict[int, Row]:
        columns = {name: kind for name, kind in _COLUMNS.items() if name != "image"}
        if "sample" in self._parquet.schema_arrow.names:
            columns["sample"] = pa.string()
        table = self._parquet.read(columns=list(columns)).select(list(columns))
        rows = enumerate(table.cast(pa.schema(list(columns.items()))).to_pylist())
        main = {number: row for number, row in rows if row.pop("sample", "main") == "main"}
        shown = {first + index for first, images in self._batches() for index in _valid(images)}
        found = {number: row for number, row in main.items() if number in shown and None not in row.values()}
        return {number: Row(**row) for number, row in found.items() if row["condition"] in CONDITIONS}

    def _rank(self, number: int, seed: int) -> int:
        row = self._rows[number]
        return derive(seed, f"{row.id} {row.condition} {row.seed}", "label")

    def _balanced(self, shuffled: list[int], size: int) -> Iterator[int]:
        by_condition = [[n for n in shuffled if self._rows[n].condition == condition] for condition in CONDITIONS]
        groups = [numbers for numbers in by_condition if numbers]
        for index, numbers in enumerate(groups):
            share = size // len(groups) + (index < size % len(groups))
            if share > len(numbers):
                most = len(groups) * min(map(len, groups))
                raise SettingsError(
                    f"--sample {size}: {self.path} has images for at most {most}, as many before as after; "
                    "ask for fewer"
                )
            yield from numbers[:share]

    def _copy(self, number: int, file: bytes, folder: Path) -> ImageKey:
        row = self._rows[number]
        try:
            decode(file)
        except OSError as error:
            raise DatasetError(f"{self.path}: the image of {row.id!r} is damaged: export it again") from error
        key = _key(row, file)
        (folder / key.image).write_bytes(file)
        return key

    def _batches(self) -> Iterator[tuple[int, pa.Array]]:
        """Slices of the image column, each with the number of its first row."""
        first = 0
        for batch in self._parquet.iter_batches(_BATCH, columns=["image"]):
            yield first, batch.column(0)
            first += len(batch)

    def _images(self, numbers: Collection[int]) -> Iterator[tuple[int, bytes]]:
        """Row number and image file of the rows ``numbers``."""
        for first, images in self._batches():
            for index in _valid(images):
                if first + index in numbers:
                    yield first + index, images[index].as_py()


def _valid(images: pa.Array) -> list[int]:
    return [index for index, valid in enumerate(images.is_valid().to_pylist()) if valid]


def _key(row: Row, file: bytes) -> ImageKey:
    return ImageKey(row.id, row.condition, row.seed, hashlib.sha256(file).hexdigest())
