"""Pixels to PNG and back."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """PNG of RGB pixels uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def decode(png: bytes) -> NDArray[np.uint8]:
    """RGB pixels uint8 [H, W, 3] of an image file. Raises ``OSError`` for bytes that are not one, or have 16 bits."""
    try:
        with Image.open(io.BytesIO(png)) as image:
            return np.asarray(to_rgb(image))
    except UnidentifiedImageError as error:
        raise OSError("no known image format") from error  # Pillow's message names a buffer
    except (SyntaxError, ValueError, NotImplementedError, Image.DecompressionBombError) as error:  # of some bad files
        raise OSError(f"not an image: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """``image`` in RGB. Raises ``ValueError`` if it has more than 8 bits per channel."""
    if image.mode.startswith(("I", "F")):  # conversion would clip it at 255
        raise ValueError(f"mode {image.mode} has more than 8 bits per channel: save it with 8 bits")
    return image.convert("RGB")
