"""The contact sheet: rows of prompts, a column "original" and one per adapter."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ecgvf.core.files import write_atomic
from ecgvf.core.png import encode

SIDE, TEXT, GAP, HEADER = 192, 300, 12, 34
PAPER, INK, FAINT = "white", "#1c1c1c", "#777777"


def sheet(
    rows: Sequence[tuple[str, str]],
    columns: Sequence[tuple[str, NDArray[np.uint8]]],
    *,
    title: str,
    blurred: Sequence[bool],
) -> Image.Image:
    """One picture with a row per (topic, prompt) and a column per (name, its pictures, RGB uint8 [len(rows), H, W, 3]).

    ``blurred`` says which rows are not to be seen clearly.
    """
    width = TEXT + 2 * GAP + len(columns) * (SIDE + GAP)
    page = Image.new("RGB", (width, 2 * HEADER + len(rows) * (SIDE + GAP) + GAP), PAPER)
    pen = ImageDraw.Draw(page)
    bold, plain = ImageFont.load_default(18), ImageFont.load_default(14)
    pen.text((GAP, GAP), title, INK, bold)
    for place, (topic, prompt) in enumerate(rows):
        top = 2 * HEADER + place * (SIDE + GAP)
        pen.text((GAP, top), topic, FAINT, plain)
        pen.multiline_text((GAP, top + 24), textwrap.fill(prompt, 40), INK, plain)
    for number, (name, pictures) in enumerate(columns):
        left = TEXT + 2 * GAP + number * (SIDE + GAP)
        pen.text((left, HEADER + GAP), name, INK, plain)
        for place, pixels in enumerate(pictures):
            page.paste(_shown(pixels, blurred[place]), (left, 2 * HEADER + place * (SIDE + GAP)))
    return page


def save(page: Image.Image, file: Path) -> None:
    """Write ``page`` as PNG, whole or not at all."""
    write_atomic(file, encode(np.asarray(page)))


def _shown(pixels: NDArray[np.uint8], blurred: bool) -> Image.Image:
    picture = Image.fromarray(pixels)
    # Small pictures are enlarged by whole pixels, so that nobody takes the smoothing for the model's.
    grown = picture.resize((SIDE, SIDE), Image.Resampling.NEAREST if picture.width < SIDE else Image.Resampling.LANCZOS)
    return grown.filter(ImageFilter.GaussianBlur(SIDE / 12)) if blurred else grown
