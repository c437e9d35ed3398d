"""Data-parallel training: the processes that `accelerate launch` or `torchrun` started share each step's images.

Each process renders, rehearses and differentiates its share of a batch. Gradients and losses are summed, so that all
processes take the same step: up to floating point, the step of a single process with the whole batch. The main process
writes.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from ecgvf.core.errors import SettingsError

T = TypeVar("T")

LONGEST_WAIT = timedelta(days=1)
"""How long a process waits for the others; PyTorch's ten minutes are too short for the main process to render what is
rehearsed. A process that fails ends all of them, however long they would wait: the launcher sees to it."""


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """The processes of a training; by default, this process alone."""

    rank: int = 0
    count: int = 1
    """Number of processes."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports: the first does."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's items: every ``count``-th, from ``rank``."""
        return items[self.rank :: self.count]

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the processes."""
        if self.count > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)

    def gather(self, rows: Tensor, total: int) -> Tensor:
        """All rows, [total, ...], in the order of the items; ``rows`` belong to this process's ``share`` of them."""
        if self.count == 1:
            return rows
        gathered = rows.new_zeros((total, *rows.shape[1:]))
        gathered[self.rank :: self.count] = rows
        distributed.all_reduce(gathered)
        return gathered

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Let the main process run the block before the others enter it, so that they find what it wrote."""
        if self.count > 1 and not self.is_main:
            distributed.barrier()
        try:
            yield
        finally:
            if self.count > 1 and self.is_main:
                distributed.barrier()  # also after an error: the others must not wait for it until they time out


def process_group(device: torch.device) -> ProcessGroup:
    """Join the processes that the launcher started, unless that is done; without a launcher, this process alone.

    Raises ``SettingsError`` if ``device`` is not the GPU that the launcher gave this process.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return ProcessGroup()
    if device.type == "cuda":
        own = int(os.environ.get("LOCAL_RANK", device.index or 0))
        if (device.index or 0) != own:
            raise SettingsError(f"process {own} of the launcher computes on cuda:{own}, not on {device}: omit --device")
        torch.cuda.set_device(device)  # which NCCL's barriers and the decoder's CUDA graphs take
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    return ProcessGroup(distributed.get_rank(), count)


def leave_process_group() -> None:
    """Leave the processes that were joined, after the work is done: NCCL waits until all of them leave.

    Not after an error: a process that fails must end, and not wait, so that the launcher ends the others.
    """
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
