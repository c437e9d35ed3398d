"""Pixels to PNG and back."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """RGB uint8 [H, W, 3] → PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def decode(png: bytes) -> NDArray[np.uint8]:
    """PNG → RGB uint8 [H, W, 3]. Raises ``OSError`` for bytes that are no picture."""
    try:
        with Image.open(io.BytesIO(png)) as image:
            return np.asarray(image.convert("RGB"))
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's other words for a bad file
        raise OSError(f"no picture: {error}") from error
