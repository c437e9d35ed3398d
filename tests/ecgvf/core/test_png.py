import numpy as np
import pytest

from ecgvf.core import png


def test_pixels_come_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    assert np.array_equal(png.decode(png.encode(pixels)), pixels)


def test_what_is_no_picture_is_an_os_error() -> None:
    with pytest.raises(OSError):
        png.decode(b"no picture")
