"""Real photographs that scikit-image ships, RGB uint8 [H, W, 3]."""

import numpy as np
from numpy.typing import NDArray
from skimage import data


def photograph(name: str) -> NDArray[np.uint8]:
    """``astronaut`` (a face), ``coffee`` (a cup), ``chelsea`` (a cat), ``rocket``, ``camera`` (a man, in grey)."""
    pixels: NDArray[np.uint8] = getattr(data, name)()
    return np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else pixels
