"""Contact sheets: where each image is, in its own pixels or blurred."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from ecgvf.core.contact_sheet import GAP, HEADER, MAX_PAIRS, SIDE, TEXT_WIDTH, PairImages, comparison, pairs_sheet
from ecgvf.core.paths import data_dir
from ecgvf.core.png import decode, encode

CAPTION = 64
CHECKERBOARD = np.repeat((np.indices((16, 16)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, axis=-1)


def image_at(page: NDArray[np.uint8], left: int, top: int) -> NDArray[np.uint8]:
    return page[top : top + SIDE, left : left + SIDE]


def test_a_comparison_has_a_row_per_prompt_and_a_column_per_name() -> None:
    images = np.stack([CHECKERBOARD, 255 - CHECKERBOARD])
    png = comparison(
        [("a", "x"), ("b", "y")], [("original", images), ("erased", images[::-1])], title="t", blurred=[False, False]
    )
    page = decode(png)
    left, top, step = TEXT_WIDTH + 2 * GAP, 2 * HEADER, SIDE + GAP
    assert page.shape == (top + 2 * step + GAP, left + 2 * step, 3)
    enlarged = np.kron(CHECKERBOARD[..., 0], np.ones((12, 12)))
    assert (image_at(page, left, top)[..., 0] == enlarged).all()
    assert (image_at(page, left, top) == image_at(page, left + step, top + step)).all()
    assert (image_at(page, left + step, top) == image_at(page, left, top + step)).all()


def test_a_long_name_of_a_column_is_wrapped_above_its_images() -> None:
    columns = [("original: control tokens as text", CHECKERBOARD[None]), ("erased", CHECKERBOARD[None])]
    page = decode(comparison([("a", "x")], columns, title="t", blurred=[False]))
    left, short = TEXT_WIDTH + 2 * GAP, 2 * HEADER
    top = len(page) - SIDE - GAP
    assert top > short and (image_at(page, left, top) == image_at(page, left + SIDE + GAP, top)).all()
    assert (page[:top, left + SIDE : left + SIDE + GAP] == 255).all()


def test_blurred_rows_cannot_be_seen_clearly() -> None:
    images = np.stack([CHECKERBOARD, CHECKERBOARD])
    page = decode(comparison([("a", "x"), ("b", "y")], [("original", images)], title="t", blurred=[True, False]))
    left, top = TEXT_WIDTH + 2 * GAP, 2 * HEADER
    assert image_at(page, left, top).std() < 20 < image_at(page, left, top + SIDE + GAP).std()


def test_a_row_without_an_image_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        comparison([("a", "x")], [("original", CHECKERBOARD[None].repeat(2, 0))], title="t", blurred=[False])


def test_accented_letters_are_drawn() -> None:
    def drawn(prompt: str) -> NDArray[np.uint8]:
        png = comparison([("a", prompt)], [("original", CHECKERBOARD[None])], title="t", blurred=[False])
        return decode(png)[:, :TEXT_WIDTH]

    missing = drawn("\ue000")
    assert all((drawn(letter) != missing).any() for letter in "áñéłşğ")


@pytest.mark.parametrize("blurred", [True, False])
def test_a_pair_has_its_target_above_its_surrogate(blurred: bool) -> None:
    black = encode(np.zeros((16, 16, 3), np.uint8))
    pair = PairImages("a church", "a hotel", encode(CHECKERBOARD), black)
    page = decode(pairs_sheet([pair] * 5, blurred=blurred))
    assert page.shape[1] == 4 * (SIDE + GAP) + GAP
    assert (image_at(page, GAP, GAP).std() > 20) is not blurred
    assert not image_at(page, GAP, GAP + SIDE + CAPTION).any()


def test_the_shipped_sheet_is_that_of_the_shipped_pairs() -> None:
    folder = data_dir() / "datasets" / "church"
    [file] = (folder / "church").glob("train-*.parquet")
    rows = pq.read_table(file).slice(0, MAX_PAIRS).to_pylist()
    pairs = [
        PairImages(row["target"], row["surrogate"], row["target_image"]["bytes"], row["surrogate_image"]["bytes"])
        for row in rows
    ]
    page, shipped = decode(pairs_sheet(pairs, blurred=False)), decode((folder / "assets" / "church.png").read_bytes())
    assert page.shape == shipped.shape
    for left in range(GAP, page.shape[1], SIDE + GAP):
        for top in (GAP, GAP + SIDE + CAPTION):  # the prompts between them depend on the font
            assert (image_at(page, left, top) == image_at(shipped, left, top)).all()
