"""Data-parallel training: the processes that `accelerate launch` or `torchrun` started share each step's images.

Each process renders, rehearses and differentiates its share; gradients and losses are summed, so that all take the same
step, which is that of one process with the whole batch but for floating point. The first process writes.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a training; by default this one alone."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes and reports."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's items."""
        return items[self.rank :: self.count]

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the processes."""
        if self.count > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)

    def gather(self, rows: Tensor, total: int) -> Tensor:
        """Rows [total, ...] of all processes, in the order of the items of which ``rows`` are this one's share."""
        if self.count == 1:
            return rows
        gathered = rows.new_zeros((total, *rows.shape[1:]))
        gathered[self.rank :: self.count] = rows
        distributed.all_reduce(gathered)
        return gathered

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Context that the first process leaves before the others enter it: they find what it wrote."""
        if self.count > 1 and not self.first:
            distributed.barrier()
        yield
        if self.count > 1 and self.first:
            distributed.barrier()


def processes(device: torch.device) -> Processes:
    """The processes that the launcher started, joined now if they are not yet; without a launcher, this one alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes()
    if device.type == "cuda":
        torch.cuda.set_device(device)  # which NCCL's barriers and the decoder's CUDA graphs take
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Processes(distributed.get_rank(), count)
