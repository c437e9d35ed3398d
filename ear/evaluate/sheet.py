"""The contact sheet: rows of prompts, columns "original" and "erased"."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ecgvf.render.png import encode
from ecgvf.store import write_atomic

SIDE, TEXT, GAP, HEADER = 192, 300, 12, 34
PAPER, INK, FAINT = "white", "#1c1c1c", "#777777"


def sheet(
    rows: Sequence[tuple[str, str]],
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    *,
    title: str,
    blurred: Sequence[bool] | None = None,
) -> Image.Image:
    """One picture with a row per (topic, prompt) and its pictures of ``before`` and ``after``, uint8 [N, H, W, 3].

    ``blurred`` says which rows are not to be seen clearly.
    """
    blurred = blurred if blurred is not None else [False] * len(rows)
    width = TEXT + 2 * SIDE + 4 * GAP
    page = Image.new("RGB", (width, 2 * HEADER + len(rows) * (SIDE + GAP) + GAP), PAPER)
    pen = ImageDraw.Draw(page)
    bold, plain = ImageFont.load_default(18), ImageFont.load_default(14)
    pen.text((GAP, GAP), title, INK, bold)
    columns = (TEXT + 2 * GAP, TEXT + SIDE + 3 * GAP)
    for left, name in zip(columns, ("original", "erased"), strict=True):
        pen.text((left, HEADER + GAP), name, INK, plain)
    for place, (topic, prompt) in enumerate(rows):
        top = 2 * HEADER + place * (SIDE + GAP)
        pen.text((GAP, top), topic, FAINT, plain)
        pen.multiline_text((GAP, top + 24), textwrap.fill(prompt, 40), INK, plain)
        for left, pixels in zip(columns, (before[place], after[place]), strict=True):
            page.paste(_shown(pixels, blurred[place]), (left, top))
    return page


def save(page: Image.Image, file: Path) -> None:
    """Write ``page`` as PNG, whole or not at all."""
    write_atomic(file, encode(np.asarray(page)))


def _shown(pixels: NDArray[np.uint8], blurred: bool) -> Image.Image:
    picture = Image.fromarray(pixels)
    # Small pictures are enlarged by whole pixels, so that nobody takes the smoothing for the model's.
    grown = picture.resize((SIDE, SIDE), Image.Resampling.NEAREST if picture.width < SIDE else Image.Resampling.LANCZOS)
    return grown.filter(ImageFilter.GaussianBlur(SIDE / 12)) if blurred else grown
