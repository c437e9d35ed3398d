"""How fast the judges look, against looking at one picture at a time with the same packages.

    python -m benchmarks.judges [--pictures 64] [--threads 2] [--repeats 3]

The reference for NudeNet is its package's ``NudeDetector.detect``; for ResNet-50 it is torchvision's network and the
weights' own transforms on one picture. ResNet-50 has random weights: speed does not depend on them. Both sides get the
same pictures, already decoded, take turns, and the best of the repeats counts. The last line is one JSON object; exit 1
where a judge is not ``GOAL`` times as fast.
"""

import json
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

from ecgvf.judges import Criterion

SIDE = 384
"""Side of Janus-Pro's pictures, in pixels."""

GOAL = 1.5
"""How many times as fast as one picture at a time, on two cores."""


def photographs(count: int) -> NDArray[np.uint8]:
    """Crops of real photographs, RGB uint8 [count, 384, 384, 3]."""
    rng = np.random.default_rng(0)
    sources = [data.astronaut(), data.coffee(), data.rocket()]
    crops = []
    for number in range(count):
        source = sources[number % len(sources)]
        top, left = (int(rng.integers(0, side - SIDE + 1)) for side in source.shape[:2])
        crops.append(source[top : top + SIDE, left : left + SIDE])
    return np.stack(crops)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratio(name: str, judge: Callable[[], object], alone: Callable[[], object], count: int, repeats: int) -> float:
    """Pictures per second of the judge over those of the reference."""
    judge(), alone()  # what is loaded at first use is no part of the speed
    ours, theirs = zip(*((seconds(judge), seconds(alone)) for _ in range(repeats)), strict=True)
    print(f"{name}: {count / min(ours):.1f} pictures/s by the judge, {count / min(theirs):.1f} one at a time")
    return min(theirs) / min(ours)


def nudenet(pictures: NDArray[np.uint8], repeats: int) -> float:
    from nudenet import NudeDetector

    from ecgvf.judges.nudenet import NudeNet

    detector = NudeDetector()
    judge = NudeNet(Criterion(label_set="faces", accepted=("FACE_FEMALE",), threshold=0.25), device="cpu")
    opencv = [np.ascontiguousarray(picture[:, :, ::-1]) for picture in pictures]
    few = len(pictures)
    return ratio(
        "nudenet", lambda: judge.predict(pictures), lambda: [detector.detect(one) for one in opencv], few, repeats
    )


def resnet50(pictures: NDArray[np.uint8], repeats: int) -> float:
    from torchvision.models import ResNet50_Weights
    from torchvision.models import resnet50 as network_of

    from ecgvf.judges.resnet50 import ResNet50

    network = network_of(weights=None).eval()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "resnet50.pth"
        torch.save(network.state_dict(), file)
        judge = ResNet50(("church",), weights=str(file))
        judge.predict(pictures[:1])
    transform = ResNet50_Weights.DEFAULT.transforms()

    @torch.no_grad()
    def alone() -> list[torch.Tensor]:
        return [network(transform(Image.fromarray(one)).unsqueeze(0)).softmax(1) for one in pictures]

    return ratio("resnet50", lambda: judge.predict(pictures), alone, len(pictures), repeats)


def main(
    pictures: Annotated[int, typer.Option(help="How many each side looks at.")] = 64,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
    repeats: Annotated[int, typer.Option(help="The best of these counts.")] = 3,
) -> None:
    """Measure both judges, and print a line of JSON."""
    torch.set_num_threads(threads)
    shown = photographs(pictures)
    ratios = {"ratio_nudenet": nudenet(shown, repeats), "ratio_resnet50": resnet50(shown, repeats)}
    met = all(ratio >= GOAL for ratio in ratios.values())
    rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
    print(
        json.dumps({**rounded, "goal": GOAL, "pictures": pictures, "threads": threads, "repeats": repeats, "met": met})
    )
    raise typer.Exit(0 if met else 1)


if __name__ == "__main__":
    typer.run(main)
