"""Where PyTorch computes: the device that ``--device`` names, and the errors of a device that fails."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from ecgvf.core.console import counted
from ecgvf.core.errors import DeviceFailed, SettingsError, first_line

_FAILURES = re.compile(r"(CUDA|HIP|cuDNN|NCCL) (driver )?error|device-side assert|(CUBLAS|CUDNN)_STATUS_")
_NO_MEMORY = re.compile(r"CUDA error: out of memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED|DefaultCPUAllocator: ")


def resolve_device(device: str) -> torch.device:
    """The device that ``--device`` names; "auto" is a GPU if there is one, in a launcher's process the GPU of its rank.

    Raises ``SettingsError`` for a device other than a CPU or a GPU that PyTorch sees.
    """
    if device == "auto" and torch.cuda.is_available():
        device = f"cuda:{rank}" if (rank := os.environ.get("LOCAL_RANK")) else "cuda"
    elif device == "auto":
        device = "cpu"
    unknown = f"unknown device {device!r}: use auto, cpu, cuda or cuda:N"
    try:
        torch_device = torch.device(device)
    except RuntimeError as error:
        raise SettingsError(unknown) from error
    if torch_device.type not in ("cpu", "cuda"):
        raise SettingsError(unknown)
    if torch_device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"PyTorch sees no GPU for device {device!r}: use --device cpu")
    if torch_device.type == "cuda" and (torch_device.index or 0) >= (count := torch.cuda.device_count()):
        raise SettingsError(
            f"PyTorch sees {counted(count, 'GPU')}, and device {device!r} is none of them: numbering starts at cuda:0"
        )
    return torch_device


def lacks_memory(error: BaseException) -> bool:
    """Whether a device's memory was too small: PyTorch's own error, or that of a library which allocates memory itself.

    On a CPU, PyTorch's is a ``RuntimeError`` that names the allocator.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def is_device_error(error: BaseException) -> bool:
    """Whether a GPU failed, which then fails at everything; not if only its memory was too small.

    PyTorch has a class for such errors since 2.8. In older versions, and from cuBLAS and cuDNN, the message alone tells
    them from other errors.
    """
    if not isinstance(error, RuntimeError) or lacks_memory(error):
        return False
    kind: type[Exception] | None = getattr(torch, "AcceleratorError", None)
    return (kind is not None and isinstance(error, kind)) or _FAILURES.search(str(error)) is not None


@contextmanager
def device_errors(device: torch.device | str, task: str, options: Sequence[str] = ()) -> Iterator[None]:
    """Raise ``SettingsError`` if the memory of ``device`` runs out in the block, and ``DeviceFailed`` if it fails.

    ``device``, its name, ``task``, a verb, and ``options``, which would take less memory, are for the message.
    """
    try:
        yield
    except RuntimeError as error:
        if lacks_memory(error):
            advice = ", ".join([*options, "a smaller model"])
            raise SettingsError(
                f"{device} does not have enough memory to {task}: use {advice} or another --device"
            ) from error
        if not is_device_error(error):
            raise
        raise DeviceFailed(f"{device} failed: {first_line(error)}") from error
