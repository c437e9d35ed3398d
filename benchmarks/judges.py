"""Images per second of two judges, compared with the same packages predicting one image at a time.

    python -m benchmarks.judges

The reference for NudeNet is its package's ``NudeDetector.detect``; for ResNet-50, torchvision's network and the
weights' own transforms on one image. ResNet-50 has random weights, which speed does not depend on. Both sides get the
same decoded images, take turns, and the best of the repeats counts. ``--threads`` are torch's: onnxruntime, which runs
both sides of NudeNet, takes every core.

The last line of standard output is JSON: ``ratio_nudenet``, ``ratio_resnet50``, their ``goal``, ``pictures``,
``threads`` of torch, ``cpus`` of the machine, ``repeats`` and ``met``. Exit code 1 if a judge is not ``GOAL`` times as
fast.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from benchmarks.result import finish, program
from ecgvf.judges import Criterion

SIDE = 384
"""Side of Janus-Pro's images, in pixels."""

GOAL = 1.5
"""Least speedup over one image at a time, on two cores."""


def photographs(count: int) -> NDArray[np.uint8]:
    """Crops of photographs, RGB uint8 [count, 384, 384, 3]."""
    rng = np.random.default_rng(0)
    sources = [data.astronaut(), data.coffee(), data.rocket()]
    crops = []
    for number in range(count):
        source = sources[number % len(sources)]
        top, left = (int(rng.integers(0, side - SIDE + 1)) for side in source.shape[:2])
        crops.append(source[top : top + SIDE, left : left + SIDE])
    return np.stack(crops)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def speedup(name: str, judge: Callable[[], object], reference: Callable[[], object], count: int, repeats: int) -> float:
    """Images per second of the judge over those of the reference."""
    judge(), reference()  # loading is not measured
    times = [(seconds(judge), seconds(reference)) for _ in range(repeats)]
    judge_time, reference_time = min(first for first, _ in times), min(second for _, second in times)
    print(f"{name}: {count / judge_time:.1f} images/s, {count / reference_time:.1f} one at a time")
    return reference_time / judge_time


def nudenet(images: NDArray[np.uint8], repeats: int) -> float:
    """The speedup for RGB images [N, H, W, 3] over ``detect`` of the package, one image at a time."""
    from nudenet import NudeDetector

    from ecgvf.judges.nudenet import NudeNet

    detector = NudeDetector()
    judge = NudeNet(Criterion(label_set="faces", accepted=("FACE_FEMALE",), threshold=0.25), device="cpu")
    bgr = [np.ascontiguousarray(image[:, :, ::-1]) for image in images]

    def reference() -> list[object]:
        return [detector.detect(image) for image in bgr]

    return speedup("nudenet", lambda: judge.predict(images), reference, len(images), repeats)


def resnet50(images: NDArray[np.uint8], repeats: int) -> float:
    """The speedup for RGB images [N, H, W, 3] over torchvision's own transform and model, one image at a time."""
    from torchvision import models

    from ecgvf.judges.torchvision_models import Torchvision

    network = models.resnet50(weights=None).eval()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "resnet50.pth"
        torch.save(network.state_dict(), file)
        judge = Torchvision("resnet50", "resnet50", Criterion.top1("church"), weights=str(file))
        judge.predict(images[:1])  # loads the weights
    transform = models.ResNet50_Weights.DEFAULT.transforms()

    @torch.no_grad()
    def reference() -> list[torch.Tensor]:
        return [network(transform(Image.fromarray(image)).unsqueeze(0)).softmax(1) for image in images]

    return speedup("resnet50", lambda: judge.predict(images), reference, len(images), repeats)


def main(
    pictures: Annotated[int, typer.Option(help="Images per measurement.")] = 64,
    threads: Annotated[int, typer.Option(help="Threads of torch, which are ResNet-50's.")] = 2,
    repeats: Annotated[int, typer.Option(help="Measurements, of which the best counts.")] = 3,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
) -> None:
    """Measure both judges and print a line of JSON."""
    torch.set_num_threads(threads)
    images = photographs(pictures)
    ratios = {"ratio_nudenet": nudenet(images, repeats), "ratio_resnet50": resnet50(images, repeats)}
    met = all(ratio >= GOAL for ratio in ratios.values())
    rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
    settings = {"goal": GOAL, "pictures": pictures, "threads": threads, "cpus": os.cpu_count(), "repeats": repeats}
    finish({**rounded, **settings, "met": met}, out)


app = program(main)

if __name__ == "__main__":
    app()
