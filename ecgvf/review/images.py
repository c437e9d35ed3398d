"""The images to label: rows of a Parquet file of outcomes, sampled and shuffled by a seed."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
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

    key: ImageKey
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
        shuffled = sorted(self._rows, key=lambda number: _rank(self._rows[number].key, seed))
        chosen = set(shuffled if size is None else self._balanced(shuffled, size))
        for number, file in self._images(chosen):
            self._copy(self._rows[number].key, file, folder)
        rows = [self._rows[number] for number in shuffled if number in chosen]
        return [BlindImage(row.key, row.concept, row.surrogate, folder / row.key.image) for row in rows]

    def judged(self, keys: Collection[ImageKey]) -> dict[ImageKey, tuple[str, Any]]:
        """Image → (surrogate, ``judges``), for the ``keys`` in the file; ``judges`` is None without this column."""
        judges: dict[int, Any] = {}
        if "judges" in self._parquet.schema_arrow.names:
            judges = dict(enumerate(self._parquet.read(columns=["judges"])["judges"].to_pylist()))
        return {row.key: (row.surrogate, judges.get(number)) for number, row in self._rows.items() if row.key in keys}

    def _check_columns(self) -> None:
        schema = self._parquet.schema_arrow
        if missing := [name for name in _COLUMNS if schema.names.count(name) != 1]:
            raise DatasetError(f"{self.path} has no column {missing[0]!r}: export it with `ear eval --outcomes FILE`")
        if "binary" not in str(kind := schema.field("image").type):
            raise DatasetError(f"{self.path}: the column 'image' holds {kind}: it needs the bytes of image files")

    def _read_rows(self) -> dict[int, Row]:
        """Row number → row; of the rows that repeat an image, only the last."""
        columns = {name: kind for name, kind in _COLUMNS.items() if name != "image"}
        if "sample" in self._parquet.schema_arrow.names:
            columns["sample"] = pa.string()
        table = self._parquet.read(columns=list(columns)).select(list(columns))
        rows = enumerate(table.cast(pa.schema(list(columns.items()))).to_pylist())
        usable = {
            number: row
            for number, row in rows
            if row.pop("sample", "main") == "main" and row["condition"] in CONDITIONS and None not in row.values()
        }
        numbers = {_key(usable[number], file): number for number, file in self._images(usable)}
        return {n: Row(key, usable[n]["concept"], usable[n]["surrogate"]) for key, n in numbers.items()}

    def _balanced(self, shuffled: list[int], size: int) -> Iterator[int]:
        by_condition = [[n for n in shuffled if self._rows[n].key.condition == condition] for condition in CONDITIONS]
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

    def _copy(self, key: ImageKey, file: bytes, folder: Path) -> None:
        try:
            decode(file)
        except OSError as error:
            raise DatasetError(f"{self.path}: the image of {key.id!r} is damaged: export it again") from error
        (folder / key.image).write_bytes(file)

    def _images(self, numbers: Collection[int]) -> Iterator[tuple[int, bytes]]:
        """Row number and image file of the rows ``numbers`` that have one."""
        number = 0
        for batch in self._parquet.iter_batches(_BATCH, columns=["image"]):
            for image in batch.column(0):
                if number in numbers and image.is_valid:
                    yield number, image.as_py()
                number += 1


def _key(row: Mapping[str, Any], file: bytes) -> ImageKey:
    return ImageKey(row["id"], row["condition"], row["seed"], hashlib.sha256(file).hexdigest())


def _rank(key: ImageKey, seed: int) -> tuple[int, str]:
    # The images of several adapters differ in the file alone.
    return derive(seed, f"{key.id} {key.condition} {key.seed}", "label"), key.image
