"""Near duplicates among images of different prompts, by a perceptual hash or by features, and clusters of them."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BITS = 64
_SIDE, _LOW = 32, 8
_ROWS = 128
"""Images to compare with all others at a time."""


def perceptual_hash(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """64 bits of RGB [H, W, 3]: which of the lowest 8 x 8 frequencies of its grey values are above their median.

    The "pHash" of C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), with the same
    bits as ``imagehash.phash``.
    """
    grey = Image.fromarray(pixels).convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(grey, dtype=np.float64), type=2)[:_LOW, :_LOW]
    bits: NDArray[np.bool_] = (low > np.median(low)).ravel()
    return bits


def hash_distances(hashes: NDArray[np.bool_], rows: slice) -> NDArray[np.float32]:
    """Number of differing bits, float32 [rows, N], between ``hashes[rows]`` and all hashes [N, 64]."""
    signs = np.where(hashes, 1, -1).astype(np.float32)
    return np.asarray((BITS - signs[rows] @ signs.T) / 2, dtype=np.float32)


def clusters_by_hash(hashes: NDArray[np.bool_], prompts: Sequence[str], most: int) -> list[list[int]]:
    """Clusters of images whose hashes [N, 64] differ in at most ``most`` bits; see ``clusters``."""
    near = (hash_distances(hashes, rows) <= most for rows in _slices(len(hashes)))
    return clusters(near, prompts)


def clusters_by_features(features: NDArray[np.float32], prompts: Sequence[str], least: float) -> list[list[int]]:
    """Clusters of images whose unit vectors [N, D] have a cosine of at least ``least``; see ``clusters``."""
    # The cosine of a unit vector with itself may be less than 1 by some roundings.
    near = (features[rows] @ features.T >= least - 1e-6 for rows in _slices(len(features)))
    return clusters(near, prompts)


def clusters(near: Iterable[NDArray[np.bool_]], prompts: Sequence[str]) -> list[list[int]]:
    """Sets of images that are linked by pairs of near duplicates, the largest first, each in ascending order.

    ``near``: slices of rows of a symmetric matrix [N, N]. Images of the same prompt are not a pair, but may be in the
    same cluster through a third image.
    """
    n = len(prompts)
    _, prompt_of = np.unique(np.asarray(prompts, dtype=np.str_), return_inverse=True)
    labels, linked = np.arange(n), np.zeros(n, dtype=np.bool_)
    for rows, found in zip(_slices(n), near, strict=True):
        pairs = found & (prompt_of[rows, None] != prompt_of)
        linked[rows] |= pairs.any(axis=1)
        linked |= pairs.any(axis=0)
        # Pairs of a single slice are kept, and of these only what joins clusters: all pairs may be too many.
        first, second = np.nonzero(pairs & (labels[rows, None] != labels))
        graph = coo_array((np.ones(len(first)), (labels[rows][first], labels[second])), shape=(n, n))
        labels = connected_components(graph, directed=False)[1][labels]
    members = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels[linked])]
    return sorted(members, key=lambda cluster: (-len(cluster), cluster))


def _slices(n: int) -> list[slice]:
    return [slice(start, min(start + _ROWS, n)) for start in range(0, n, _ROWS)]
