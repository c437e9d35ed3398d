"""The least that rendering can cost: the bytes and FLOPs of each kernel, against what the device can do.

A kernel takes at least the larger of its bytes at the device's bandwidth and its FLOPs at the device's peak. Williams,
Waterman and Patterson, Roofline, https://doi.org/10.1145/1498765.1498785.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ecgvf.janus.kv_cache import bytes_per_position, head_dim
from ecgvf.janus.model import JanusModel
from ecgvf.janus.pixels import decode_chunk

_RUNS = 10
"""Of which the fastest counts."""


@dataclass(frozen=True, slots=True)
class Roofs:
    """What a device can do."""

    bytes_per_second: float
    """Bytes read and written by a large copy."""
    flops_per_second: float
    """FLOPs of a large matrix product, a multiply-add being two."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kind of operation in the rendering of a batch."""

    name: str
    calls: int
    bytes: float
    """Bytes that a call moves: weights once, inputs, outputs, and what it reads of the cache."""
    flops: float
    """FLOPs of a call."""

    def seconds(self, roofs: Roofs) -> float:
        """The least time of all calls."""
        return self.calls * max(self.bytes / roofs.bytes_per_second, self.flops / roofs.flops_per_second)


@dataclass(frozen=True, slots=True)
class BatchCost:
    """The kernels of a batch, from its prompts to its pixels."""

    kernels: tuple[Kernel, ...]

    def seconds(self, roofs: Roofs) -> float:
        """The least time of the batch."""
        return sum(kernel.seconds(roofs) for kernel in self.kernels)


def batch_cost(model: JanusModel, images: int, *, guided: bool = True, prompt_length: int = 20) -> BatchCost:
    """The cost of ``images`` images with prompts of ``prompt_length`` tokens, counted from the model's configuration.

    Sampling, norms and activations are left out: they move less than a hundredth of the bytes.
    """
    config, size, steps = model.model.config.text_config, model.dtype.itemsize, model.image_tokens
    rows, width, dim = images * (2 if guided else 1), config.hidden_size, head_dim(config)
    heads, kv_heads, depth = config.num_attention_heads, config.num_key_value_heads, config.num_hidden_layers

    def linear(name: str, calls: int, inputs: int, outputs: int, rows: int) -> Kernel:
        moved = inputs * outputs + rows * (inputs + outputs)
        return Kernel(name, calls, moved * size, 2 * rows * inputs * outputs)

    layer = (
        ("q, k, v", width, (heads + 2 * kv_heads) * dim),
        ("attention output", heads * dim, width),
        ("gate, up", width, 2 * config.intermediate_size),
        ("down", config.intermediate_size, width),
    )
    length = prompt_length + steps / 2  # of the cache, on average
    head = model.model.model.generation_head
    pixel_flops, pixel_bytes = _pixels(model)
    return BatchCost(
        (
            *(linear(f"prompt: {name}", depth, n, m, rows * prompt_length) for name, n, m in layer),
            *(linear(name, (steps - 1) * depth, n, m, rows) for name, n, m in layer),
            Kernel(
                "attention",
                (steps - 1) * depth,
                rows * length * bytes_per_position(config, model.dtype) / depth,
                rows * 4 * length * heads * dim,
            ),
            linear("head, hidden", steps, width, head.proj_out.out_features, rows),
            linear("head, logits", steps, head.vision_head.in_features, head.vision_head.out_features, images),
            Kernel("pixels", images, pixel_bytes, pixel_flops),
        )
    )


def measure_roofs(device: torch.device, dtype: torch.dtype) -> Roofs:
    """Measure a large copy and a large matrix product in ``dtype`` on ``device``; takes about a second."""
    on_cpu = device.type == "cpu"
    side = 2048 if on_cpu else 8192
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    source = torch.ones(2 ** (26 if on_cpu else 28), dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() * source.element_size()
    return Roofs(
        bytes_per_second=copied / _best_time(lambda: target.copy_(source), device),
        flops_per_second=2 * side**3 / _best_time(lambda: left @ right, device),
    )


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _best_time(work: Callable[[], Tensor], device: torch.device) -> float:
    times = []
    for _ in range(_RUNS):
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times)


def _pixels(model: JanusModel) -> tuple[int, int]:
    """FLOPs and bytes of decoding one image; the bytes are those of its convolutions."""
    moved = 0

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal moved
        weights = sum(parameter.numel() for parameter in module.parameters())
        moved += (weights + inputs[0].numel() + output.numel()) * output.element_size()

    kinds = nn.Conv2d, nn.ConvTranspose2d
    convolutions = [module for module in model.pixel_decoder.modules() if isinstance(module, kinds)]
    hooks = [convolution.register_forward_hook(count) for convolution in convolutions]
    try:
        with FlopCounterMode(display=False) as counter:
            decode_chunk(model, torch.zeros(1, model.image_tokens, dtype=torch.int64, device=model.device))
    finally:
        for hook in hooks:
            hook.remove()
    return counter.get_total_flops(), moved
