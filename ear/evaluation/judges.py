"""The judges that measure: another one than the judge that filtered, where there is another.

The concept is looked for by its judge, with the labels and bounds of the filter; another topic is there where a
classifier sees it first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ear.evaluation.cases import Case
from ear.retained_concepts import Topic, in_nanos_world
from ecgvf.core.dataset import Dataset
from ecgvf.judges import Judge, JudgeOptions, create_judge

_CLASSIFIERS = ("resnet50", "torchvision", "timm", "hf")


class Classifies(Protocol):
    """A judge that tells all its labels at once."""

    labels: tuple[str, ...]

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, len(labels)] for RGB uint8 [N, H, W, 3]."""


def judge_of(dataset: Dataset, topic: Topic | None) -> str:
    """Name of the judge that measures the concept (None) or another topic, where the user names none."""
    if in_nanos_world(dataset):
        if (topic.family if topic is not None else dataset.concept.kind) == "style":
            return "nano-style"
        return "nano-object-a" if dataset.judge == "nano-object-b" else "nano-object-b"
    # What a detector or CLIP looks for is the concept and nothing else.
    return dataset.judge if topic is None or dataset.judge.partition(":")[0] in _CLASSIFIERS else "resnet50"


@dataclass
class Panel:
    """The judges of one dataset. The concept's is opened at once, so that a wrong name costs no drawing.

    ``judge`` with ``weights`` (None: see ``judge_of``, and the judge's own) is for the concept. Raises ``JudgeError``
    for one that cannot look for it.
    """

    dataset: Dataset
    judge: str | None = None
    weights: str | None = None
    _of_concept: Judge = field(init=False)
    _classifiers: dict[str, Classifies] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Labels and bounds that filtered measure as well, where they mean the same to the judge that measures.
        filtered, measures = (
            name.replace("nano-object-b", "nano-object-a") for name in (self.dataset.judge, self.of_concept)
        )
        asked = JudgeOptions.from_recorded(dict(self.dataset.judge_options)) if filtered == measures else JudgeOptions()
        self._of_concept = create_judge(
            self.dataset.concept, self.dataset.model, self.of_concept, replace(asked, weights=self.weights)
        )

    @property
    def of_concept(self) -> str:
        """The name of the judge that measures the concept."""
        return self.judge if self.judge is not None else judge_of(self.dataset, None)

    def measurable(self, topics: Sequence[Topic]) -> list[Topic]:
        """The topics that their judge has a label for."""
        return [topic for topic in topics if topic.name in self._classifier(topic).labels]

    def seen(self, cases: Sequence[Case], images: NDArray[np.uint8]) -> list[bool]:
        """Whether each case's topic is there in its picture, RGB uint8 [N, H, W, 3]."""
        answers = [False] * len(cases)
        of_concept = [place for place, case in enumerate(cases) if case.topic is None]
        if of_concept:
            for place, reading in zip(of_concept, self._of_concept.predict(images[of_concept]), strict=True):
                answers[place] = reading.present
        by_judge: dict[str, list[int]] = {}
        for place, case in enumerate(cases):
            if case.topic is not None:
                by_judge.setdefault(judge_of(self.dataset, case.topic), []).append(place)
        for places in by_judge.values():
            topics = [cast(Topic, cases[place].topic) for place in places]
            judge = self._classifier(topics[0])
            for place, topic, best in zip(places, topics, judge.probabilities(images[places]).argmax(1), strict=True):
                answers[place] = judge.labels[int(best)] == topic.name
        return answers

    def _classifier(self, topic: Topic) -> Classifies:
        name = judge_of(self.dataset, topic)
        if name not in self._classifiers:
            weights = self.weights if name == self.of_concept else None
            self._classifiers[name] = cast(Classifies, create_judge(None, None, name, JudgeOptions(weights=weights)))
        return self._classifiers[name]
