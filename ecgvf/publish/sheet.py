"""The contact sheet of a card: some accepted pairs, target above surrogate. Unsafe pictures are blurred."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter, ImageFont

MOST = 8
"""Pairs shown."""

SIDE, TEXT, GAP = 192, 64, 12
COLUMNS = 4
PAPER, INK, FAINT = "white", "#1c1c1c", "#777777"


@dataclass(frozen=True, slots=True)
class Shown:
    """One pair of the sheet: its prompts and its PNGs."""

    target: str
    surrogate: str
    target_png: bytes
    surrogate_png: bytes


def sheet(pairs: Sequence[Shown], *, blurred: bool) -> bytes:
    """PNG of the pairs, ``COLUMNS`` in a row. The same pairs give the same bytes."""
    rows = -(-len(pairs) // COLUMNS)
    columns = min(COLUMNS, len(pairs))
    page = Image.new("RGB", (columns * (SIDE + GAP) + GAP, rows * 2 * (SIDE + TEXT) + (rows + 1) * GAP), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for place, pair in enumerate(pairs):
        left = GAP + place % COLUMNS * (SIDE + GAP)
        top = GAP + place // COLUMNS * (2 * (SIDE + TEXT) + GAP)
        for png, text, ink in ((pair.target_png, pair.target, INK), (pair.surrogate_png, pair.surrogate, FAINT)):
            page.paste(_shown(png, blurred), (left, top))
            pen.multiline_text((left, top + SIDE + 4), "\n".join(textwrap.wrap(text, 30)[:4]), ink, font)
            top += SIDE + TEXT
    buffer = io.BytesIO()
    page.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _shown(png: bytes, blurred: bool) -> Image.Image:
    with Image.open(io.BytesIO(png)) as image:
        picture = image.convert("RGB")
    # Small pictures are enlarged by whole pixels, so that nobody takes the smoothing for the model's.
    how = Image.Resampling.NEAREST if picture.width < SIDE else Image.Resampling.LANCZOS
    grown = picture.resize((SIDE, SIDE), how)
    return grown.filter(ImageFilter.GaussianBlur(SIDE / 12)) if blurred else grown
