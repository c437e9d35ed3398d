import io

import numpy as np
import pytest
from PIL import Image

from ecgvf.core import png


def test_decoding_an_encoded_image_gives_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    assert np.array_equal(png.decode(png.encode(pixels)), pixels)


def test_bytes_that_are_not_an_image_raise_an_os_error() -> None:
    with pytest.raises(OSError, match=r"^no known image format$"):
        png.decode(b"not an image")


def test_16_bits_per_channel_are_refused_rather_than_clipped() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 9), 40_000, dtype=np.uint16)).save(buffer, format="PNG")
    with pytest.raises(OSError, match="more than 8 bits per channel"):
        png.decode(buffer.getvalue())
