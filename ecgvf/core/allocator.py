"""Keep freed memory in the process, where the next forward pass finds it.

glibc returns large blocks to the system when they are freed, and each pass has to map the same pages again: a fifth of
its time on a CPU (docs/decisions/0010-rendering.md).
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_LARGEST_BLOCK, _KEPT = 1 << 25, 1 << 30
"""Bytes: larger blocks are returned when freed; so is what lies free at the heap's end beyond ``_KEPT``."""


def keep_freed_memory() -> None:
    """Keep freed memory from now on, in the whole process. Without effect where the C library is not glibc."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_TRIM_THRESHOLD, _KEPT)
