"""The kernel distance (KID): an unbiased estimate of the squared maximum mean discrepancy of two sets of features.

M. Bińkowski et al., "Demystifying MMD GANs" (2018), https://arxiv.org/abs/1801.01401, section 4: the polynomial kernel
(x·y / D + 1)³. Its expectation does not depend on the number of images, unlike that of FID.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SUBSET = 1_000
"""Largest number of images in a subset, as is usual."""
SUBSETS = 10
"""Least number of subsets: with fewer than ``SUBSET * SUBSETS`` images, subsets are smaller."""


def subset_size(n: int) -> int:
    """Number of images in each disjoint subset of ``n`` images."""
    return min(SUBSET, n // SUBSETS)


def kernel_distance(first: Floats, second: Floats) -> float:
    """KID of features float64 [M, D] and [N, D], M and N at least 2; by chance below 0 if the sets are alike."""
    within_first, within_second = _kernel(first, first), _kernel(second, second)
    between = float(_kernel(first, second).mean())
    return _mean_of_others(within_first) + _mean_of_others(within_second) - 2 * between


def _kernel(first: Floats, second: Floats) -> Floats:
    kernel: Floats = (first @ second.T / first.shape[1] + 1) ** 3
    return kernel


def _mean_of_others(kernel: Floats) -> float:
    """The mean outside the diagonal."""
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))
