"""The judge that measures: another one than the judge that filtered, where there is another."""

from collections.abc import Sequence
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ear.evaluate.cases import Case
from ear.topics import Topic, in_nanos_world
from ecgvf.errors import JudgeError
from ecgvf.judges import NanoJudge
from ecgvf.judges.dataset import Dataset


class Looker(Protocol):
    """A judge that tells all its labels at once."""

    name: str
    labels: tuple[str, ...]

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, len(labels)] for RGB uint8 [N, H, W, 3]."""


def judge_of(dataset: Dataset, topic: Topic | None) -> str:
    """Name of the judge that measures the concept (None) or another topic."""
    if not in_nanos_world(dataset):
        return dataset.judge
    of_style = topic.family == "style" if topic is not None else dataset.concept.kind == "style"
    if of_style:
        return "nano-style"
    return "nano-object-a" if dataset.judge == "nano-object-b" else "nano-object-b"


def wanted(dataset: Dataset, topic: Topic | None) -> tuple[str, ...]:
    """The labels that mean the concept (None) or another topic."""
    if topic is not None:
        return (topic.name,)
    return dataset.concept.labels("nano" if in_nanos_world(dataset) else "imagenet")


def measurable(dataset: Dataset, topics: Sequence[Topic]) -> list[Topic]:
    """The topics that their judge has a label for."""
    return [topic for topic in topics if topic.name in _judge(dataset, topic).labels]


def seen(dataset: Dataset, cases: Sequence[Case], images: NDArray[np.uint8]) -> list[bool]:
    """Whether each case's topic is what its judge sees first in its picture, RGB uint8 [N, H, W, 3]."""
    answers = [False] * len(cases)
    by_judge: dict[str, list[int]] = {}
    for place, case in enumerate(cases):
        by_judge.setdefault(judge_of(dataset, case.topic), []).append(place)
    for places in by_judge.values():
        judge = _judge(dataset, cases[places[0]].topic)
        best = judge.probabilities(images[places]).argmax(axis=1)
        for place, label in zip(places, best, strict=True):
            answers[place] = judge.labels[int(label)] in wanted(dataset, cases[place].topic)
    return answers


def _judge(dataset: Dataset, topic: Topic | None) -> Looker:
    name = judge_of(dataset, topic)
    # A judge of things measures beside a style, too: then the concept's own label is not among its labels.
    own = topic is None or (topic.family == "style") == (dataset.concept.kind == "style")
    return _opened(name, wanted(dataset, None if own else topic))


@cache
def _opened(name: str, labels: tuple[str, ...]) -> Looker:
    if name == "resnet50":
        # torchvision takes seconds to import, and nano's judges do without it.
        from ecgvf.judges.resnet50 import ResNet50

        return ResNet50(labels)
    if not name.startswith("nano-"):
        raise JudgeError(f"judge {name} filtered this dataset, but `ear eval` cannot measure with it yet")
    return NanoJudge(name.removeprefix("nano-"), labels)
