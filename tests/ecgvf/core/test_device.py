"""The device that ``--device`` names, and which errors are a device's own."""

import pytest
import torch

from ecgvf.core.device import device_errors, is_device_error, lacks_memory, resolve_device
from ecgvf.core.errors import DeviceFailed, EcgvfError, SettingsError

NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("device", ["quantum", "meta"])
def test_an_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(SettingsError, match=f"unknown device '{device}': use auto"):
        resolve_device(device)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(SettingsError, match="sees 2 GPUs, and device 'cuda:2' is none of them"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle)`",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "CUDA driver error: unknown error",
    ],
)
def test_an_error_of_older_pytorch_is_the_devices_by_its_message(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "AcceleratorError", raising=False)
    assert is_device_error(RuntimeError(message))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        *NO_MEMORY,
        ValueError("CUDA error: in a prompt"),
    ],
)
def test_other_errors_are_not_the_devices(error: Exception) -> None:
    assert not is_device_error(error)


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        *(
            (
                error,
                SettingsError,
                "cuda:0 does not have enough memory to train: use --less, a smaller model or another --device",
            )
            for error in NO_MEMORY
        ),
        (RuntimeError("CUDA error: unknown\ndetails"), DeviceFailed, "cuda:0 failed: CUDA error: unknown"),
    ],
)
def test_a_device_that_lacks_memory_or_fails_is_one_line(
    error: Exception, expected: type[EcgvfError], message: str
) -> None:
    with pytest.raises(expected) as caught, device_errors(torch.device("cuda:0"), "train", ["--less"]):
        raise error
    assert str(caught.value) == message


def test_pytorch_without_memory_on_a_cpu_lacks_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    assert lacks_memory(caught.value)


def test_an_error_of_the_programs_own_is_not_the_devices() -> None:
    with pytest.raises(RuntimeError, match="must match"), device_errors(torch.device("cpu"), "train"):
        raise RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")
