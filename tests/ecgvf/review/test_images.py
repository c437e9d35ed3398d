"""Which images are labelled, and in which order."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core.errors import DatasetError, SettingsError
from ecgvf.core.png import encode
from ecgvf.review.images import BlindImage, ImageRows
from tests.ecgvf.small_outcomes import outcome, outcomes, write_outcomes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_outcomes(tmp_path / "church.parquet", outcomes(8))


def conditions(images: list[BlindImage]) -> list[str]:
    return [image.key.condition for image in images]


def test_images_before_and_after_are_labelled_and_no_others(tmp_path: Path, file: Path) -> None:
    assert sorted(conditions(ImageRows(file).sample(None, 0, tmp_path))) == ["after"] * 8 + ["before"] * 8
    retained, imageless = outcome(1, "after", surrogate=None), outcome(2, "after", image=None)
    some = write_outcomes(tmp_path / "some.parquet", [outcome(0, "before"), retained, imageless])
    assert [image.key.id for image in ImageRows(some).sample(None, 0, tmp_path)] == ["record-0"]


def test_only_images_of_the_main_sample_are_labelled(tmp_path: Path) -> None:
    samples = ["main", "attack", "sampling", "wording", "seeds", "threshold"]
    rows = [outcome(number, "after") for number in range(len(samples))]
    file = write_outcomes(tmp_path / "full.parquet", [*rows, outcome(0, "before"), outcome(1, "before")])
    table = pq.read_table(file)
    pq.write_table(table.append_column("sample", pa.array([*samples, "main", "attack"])), file)
    images = ImageRows(file).sample(None, 0, tmp_path)
    assert {(image.key.id, image.key.condition) for image in images} == {("record-0", "after"), ("record-0", "before")}


def test_a_sample_has_as_many_images_of_each_condition(file: Path, tmp_path: Path) -> None:
    sample = ImageRows(file).sample(6, 0, tmp_path)
    assert sorted(conditions(sample)) == ["after"] * 3 + ["before"] * 3
    assert sorted(conditions(ImageRows(file).sample(5, 0, tmp_path))) == ["after"] * 2 + ["before"] * 3


def test_a_larger_sample_contains_a_smaller_one(file: Path, tmp_path: Path) -> None:
    rows = ImageRows(file)
    large, small = rows.sample(10, 3, tmp_path), rows.sample(4, 3, tmp_path)
    assert [image for image in large if image in small] == small


# Two adapters have two images of one prompt and seed.
_ROWS = [*outcomes(3), outcome(0, "after", image=outcome(9, "after")["image"])]


@given(st.permutations(_ROWS), st.integers(0, 3))
def test_the_order_of_the_file_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("outcomes")
    files = write_outcomes(folder / "a.parquet", rows), write_outcomes(folder / "b.parquet", _ROWS)
    first, second = (ImageRows(file).sample(4, seed, folder) for file in files)
    assert first == second


def test_the_seed_decides_the_order(file: Path, tmp_path: Path) -> None:
    first, again, other = (ImageRows(file).sample(None, seed, tmp_path) for seed in (0, 0, 1))
    assert first == again != other and {image.key for image in first} == {image.key for image in other}
    assert conditions(first) != sorted(conditions(first)) != conditions(first)[::-1]


def test_an_image_that_a_file_repeats_counts_once(tmp_path: Path) -> None:
    rows = ImageRows(write_outcomes(tmp_path / "twice.parquet", outcomes(4) * 2))
    assert len({image.key for image in rows.sample(None, 0, tmp_path)}) == 8
    for size in (5, 8):
        assert len(rows.sample(size, 0, tmp_path)) == size
    with pytest.raises(SettingsError, match="at most 8"):
        rows.sample(10, 0, tmp_path)


def test_the_images_are_not_kept_in_memory(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 128, 128, 3), dtype=np.uint8)
    rows = [outcome(number, "after", image=encode(pixels)) for number, pixels in enumerate(noise)]
    opened = ImageRows(write_outcomes(tmp_path / "large.parquet", rows))
    tracemalloc.start()
    images = opened.sample(None, 0, tmp_path)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {image.file.read_bytes() for image in images} == {row["image"] for row in rows}
    assert kept < len(images[0].file.read_bytes())


def test_more_images_than_there_are_cannot_be_sampled(tmp_path: Path) -> None:
    rows = [*outcomes(3), outcome(3, "before")]
    file = write_outcomes(tmp_path / "church.parquet", rows)
    with pytest.raises(SettingsError, match=r"--sample 8: .* at most 6"):
        ImageRows(file).sample(8, 0, tmp_path)
    assert len(ImageRows(file).sample(7, 0, tmp_path)) == 7  # 4 before, 3 after


def test_a_file_that_cannot_be_used_is_one_line_that_names_it(tmp_path: Path) -> None:
    def refused(match: str, file: Path) -> None:
        with pytest.raises(DatasetError, match=match) as error:
            ImageRows(file).sample(None, 0, tmp_path)
        assert str(file) in str(error.value) and "\n" not in str(error.value)

    file = tmp_path / "bad.parquet"
    refused("there is no file", file)
    file.write_bytes(b"no table")
    refused("not a Parquet file", file)
    whole = pa.Table.from_pylist(outcomes(1))
    for column in ("id", "condition", "seed", "concept", "surrogate", "image"):
        pq.write_table(whole.drop([column]), file)
        refused(f"no column '{column}'", file)
    pq.write_table(whole.set_column(whole.schema.get_field_index("seed"), "seed", pa.array(["x"] * 3)), file)
    refused("not a Parquet file, or it is damaged", file)
    pq.write_table(whole.set_column(whole.schema.get_field_index("image"), "image", pa.array(["x"] * 3)), file)
    refused("holds string", file)
    write_outcomes(file, [outcome(0, "ceiling"), outcome(0, "after", image=None)])
    refused("no image, before or after", file)
    write_outcomes(file, [outcome(0, "after", image=b"no image")])
    refused("the image of 'record-0' is damaged", file)
