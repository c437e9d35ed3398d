import numpy as np
import pytest

from ecgvf.core import png


def test_decoding_an_encoded_image_gives_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    assert np.array_equal(png.decode(png.encode(pixels)), pixels)


def test_bytes_that_are_not_an_image_raise_an_os_error() -> None:
    with pytest.raises(OSError):
        png.decode(b"not an image")
