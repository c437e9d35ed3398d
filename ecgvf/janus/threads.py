"""The number of CPU threads of PyTorch. Another number adds in another order, which can flip a token.

Whether the number was ever set matters, too: until ``torch.set_num_threads`` is called in a process, MKL may use fewer
threads than it has (MKL_DYNAMIC), and the gradients of attention round differently. So run what must be equal across
processes inside ``num_threads`` (docs/decisions/0009-reproducible-training.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def num_threads(count: int) -> Iterator[None]:
    """Set PyTorch's number of threads to ``count`` inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
