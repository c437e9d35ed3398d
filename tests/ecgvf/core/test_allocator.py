"""`keep_freed_memory`: what a pass frees, the next one takes."""

import platform
import subprocess
import sys

import pytest

PASSES = """
import resource
import numpy as np
from ecgvf.core.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        np.ones(2**21)  # 16 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

returned = faults()
keep_freed_memory()
np.ones(2**21)
print(returned, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have no mallopt")
def test_a_block_that_was_freed_is_not_mapped_again() -> None:
    printed = subprocess.run([sys.executable, "-c", PASSES], check=True, capture_output=True, text=True).stdout
    returned, kept = map(int, printed.split())
    assert returned > 5 * max(kept, 10)
