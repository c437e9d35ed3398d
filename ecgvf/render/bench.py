"""Measure how fast a model renders on this device, compared with what the device could do."""

import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ecgvf.core import console
from ecgvf.core.device import device_errors
from ecgvf.janus import JanusModel, render_images
from ecgvf.janus.roofline import Roofs, batch_cost, measure_roofs, synchronize

PROMPTS = ("a castle on a hill of grass under a cloudy sky", "a red car at night", "a cat")
"""Prompts of several lengths, which the images share."""


@dataclass(frozen=True, slots=True)
class RenderSpeed:
    """The speed of one batch size, from prompts to pixels."""

    batch_size: int
    seconds: tuple[float, ...]
    """Seconds of a batch, one per run."""
    roof_seconds: float
    """The least time that the measured roofs allow for a batch."""
    image_tokens: int
    peak_memory: int
    """Most bytes in use: of the process so far on a CPU, of PyTorch's tensors during the runs on a GPU."""

    @property
    def images_per_second(self) -> float:
        """Median over the runs."""
        return self.batch_size / statistics.median(self.seconds)

    @property
    def ms_per_token(self) -> float:
        """Milliseconds of a decoding step, which makes one token of every image; pixels included."""
        return 1000 * statistics.median(self.seconds) / self.image_tokens

    @property
    def share_of_roof(self) -> float:
        """From 0 to 1: the least possible time, divided by the time."""
        return self.roof_seconds / statistics.median(self.seconds)


def measure_speed(model: JanusModel, batch_sizes: Sequence[int], *, runs: int = 3) -> tuple[Roofs, list[RenderSpeed]]:
    """The roofs of the model's device, and the speed at each of ``batch_sizes``, over ``runs`` runs after a warm-up.

    Raises ``SettingsError`` if memory runs out, and ``DeviceFailed``.
    """
    with device_errors(model.device, "measure its roofs"):
        roofs = measure_roofs(model.device, model.dtype)
    with console.progress("rendering", (runs + 1) * len(batch_sizes)) as bar:
        return roofs, [_measure(model, size, runs, roofs, bar) for size in batch_sizes]


def _measure(model: JanusModel, batch_size: int, runs: int, roofs: Roofs, bar: console.Bar) -> RenderSpeed:
    seconds = []
    if model.device.type == "cuda":  # measuring the roofs takes more
        torch.cuda.reset_peak_memory_stats(model.device)
    for run in range(runs + 1):
        started = time.perf_counter()
        seeds = [run * batch_size + index for index in range(batch_size)]
        prompts = [PROMPTS[seed % len(PROMPTS)] for seed in seeds]
        images = console.counted(batch_size, "image")
        with device_errors(model.device, f"render {images} of {model.name} at once", ["a smaller --batch-size"]):
            render_images(model, prompts, seeds, model.sampling, batch_size=batch_size)
            synchronize(model.device)
        seconds.append(time.perf_counter() - started)
        bar.advance()
    cost = batch_cost(model, batch_size, guided=model.sampling.guided)
    return RenderSpeed(batch_size, tuple(seconds[1:]), cost.seconds(roofs), model.image_tokens, _peak_memory(model))


def _peak_memory(model: JanusModel) -> int:
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(model.device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
