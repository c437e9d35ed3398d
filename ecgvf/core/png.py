"""Pixels to PNG and back."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """PNG of RGB pixels uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def decode(png: bytes) -> NDArray[np.uint8]:
    """RGB pixels uint8 [H, W, 3] of an image file. Raises ``OSError`` for bytes that are not one."""
    try:
        with Image.open(io.BytesIO(png)) as image:
            return np.asarray(image.convert("RGB"))
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow raises these for some bad files
        raise OSError(f"not an image: {error}") from error
