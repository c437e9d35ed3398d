"""Contact sheets: one PNG of many images. The same images give the same bytes."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ecgvf.core.png import decode, encode

SIDE, GAP = 192, 12
"""Side of each image and the space around it, in pixels."""
TEXT_WIDTH, HEADER = 300, 34
"""Of a comparison: the column of prompts, and each of its two header lines, the title and the columns' names."""
_COLUMN_CHARACTERS, _LINE = 24, 18
"""Characters of a column's name in a line, and the height of each further line."""
MAX_PAIRS = 8
"""Most pairs of a sheet of pairs."""

_CAPTION, _PAIRS_IN_A_ROW = 64, 4
_PAPER, _INK, _FAINT = "white", "#1c1c1c", "#777777"


def comparison(
    rows: Sequence[tuple[str, str]],
    columns: Sequence[tuple[str, NDArray[np.uint8]]],
    *,
    title: str,
    blurred: Sequence[bool],
) -> bytes:
    """PNG with a row per (label, prompt) and a column per (name, images), RGB uint8 [len(rows), H, W, 3].

    ``blurred``: for each row, whether its images are blurred.
    """
    names = [textwrap.wrap(name, _COLUMN_CHARACTERS) for name, _ in columns]
    top = 2 * HEADER + _LINE * (max(map(len, names), default=1) - 1)
    width = TEXT_WIDTH + 2 * GAP + len(columns) * (SIDE + GAP)
    page = Image.new("RGB", (width, top + len(rows) * (SIDE + GAP) + GAP), _PAPER)
    pen = ImageDraw.Draw(page)
    bold, plain = _font(18), _font(14)
    tops = [top + index * (SIDE + GAP) for index in range(len(rows))]
    pen.text((GAP, GAP), title, _INK, bold)
    for top, (label, prompt) in zip(tops, rows, strict=True):
        pen.text((GAP, top), label, _FAINT, plain)
        pen.multiline_text((GAP, top + 24), textwrap.fill(prompt, 36), _INK, plain)
    for index, (name, (_, images)) in enumerate(zip(names, columns, strict=True)):
        left = TEXT_WIDTH + 2 * GAP + index * (SIDE + GAP)
        pen.multiline_text((left, HEADER + GAP), "\n".join(name), _INK, plain)
        for top, pixels, blur in zip(tops, images, blurred, strict=True):
            page.paste(_thumbnail(pixels, blur), (left, top))
    return encode(np.asarray(page))


@dataclass(frozen=True, slots=True)
class PairImages:
    """A pair's prompts and its images as PNG."""

    target: str
    surrogate: str
    target_png: bytes
    surrogate_png: bytes


def pairs_sheet(pairs: Sequence[PairImages], *, blurred: bool) -> bytes:
    """PNG of ``pairs``, four in a row, each with its target above its surrogate."""
    columns, rows = min(_PAIRS_IN_A_ROW, len(pairs)), -(-len(pairs) // _PAIRS_IN_A_ROW)
    size = (columns * (SIDE + GAP) + GAP, rows * 2 * (SIDE + _CAPTION) + (rows + 1) * GAP)
    page = Image.new("RGB", size, _PAPER)
    pen, font = ImageDraw.Draw(page), _font(12)
    for index, pair in enumerate(pairs):
        row, column = divmod(index, _PAIRS_IN_A_ROW)
        left, top = GAP + column * (SIDE + GAP), GAP + row * (2 * (SIDE + _CAPTION) + GAP)
        for png, prompt, ink in ((pair.target_png, pair.target, _INK), (pair.surrogate_png, pair.surrogate, _FAINT)):
            page.paste(_thumbnail(decode(png), blurred), (left, top))
            pen.multiline_text((left, top + SIDE + 4), "\n".join(textwrap.wrap(prompt, 28)[:4]), ink, font)
            top += SIDE + _CAPTION
    buffer = io.BytesIO()
    page.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib ships: Pillow's own font has no accented letters, and prompts have."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _thumbnail(pixels: NDArray[np.uint8], blurred: bool) -> Image.Image:
    image = Image.fromarray(pixels)
    # Small images are enlarged by whole pixels, so that nobody takes the smoothing for the model's.
    resampling = Image.Resampling.NEAREST if image.width < SIDE else Image.Resampling.LANCZOS
    resized = image.resize((SIDE, SIDE), resampling)
    return resized.filter(ImageFilter.GaussianBlur(SIDE / 12)) if blurred else resized
