"""The number of CPU threads that PyTorch computes with: another number adds in another order and can flip a token.

Whether the number was ever set counts, too: until ``torch.set_num_threads`` is called in a process, MKL may use fewer
threads than it has (MKL_DYNAMIC), and attention's gradients round differently, even for the same number. What must be
equal across processes runs inside ``num_threads`` (docs/decisions/0009-reproducible-training.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def num_threads(count: int) -> Iterator[None]:
    """Let PyTorch use ``count`` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
