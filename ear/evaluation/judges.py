"""The judges of an evaluation: not the judge that filtered, if there is another.

The concept's judge uses the labels and bounds of the filter. A retained concept is present if a classifier ranks it
first.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ear.retained_concepts import RetainedConcept, in_nano_world
from ecgvf.core.dataset import Dataset
from ecgvf.judges import Judge, JudgeOptions, create_judge

_CLASSIFIERS = ("resnet50", "torchvision", "timm", "hf")
_FAMILIES = {
    "nano-object-b": "nano-object-a",
    "nano-object-c": "nano-object-a",
    "nano-style-b": "nano-style",
}
"""Judge of nano → the one whose labels it shares."""


class Classifier(Protocol):
    """A judge that scores all its labels."""

    labels: tuple[str, ...]

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, len(labels)] for RGB uint8 [N, H, W, 3]."""


def default_judge(dataset: Dataset, retained: RetainedConcept | None) -> str:
    """Name of the judge of the erased concept (None) or of a retained one, unless the user names another."""
    if in_nano_world(dataset):
        if (retained.family if retained is not None else dataset.concept.kind) == "style":
            return "nano-style"
        return "nano-object-a" if dataset.judge == "nano-object-b" else "nano-object-b"
    # A detector or CLIP recognises the concept only.
    is_classifier = dataset.judge.partition(":")[0] in _CLASSIFIERS
    return dataset.judge if retained is None or is_classifier else "resnet50"


@dataclass
class EvaluationJudges:
    """The judges of one dataset. The concept's is loaded at once, so that a wrong name costs no rendering.

    ``judge`` is the concept's, by name (None: ``default_judge``) with ``weights`` (None: its own), or a ``Judge``.
    Raises ``JudgeError`` for a judge that has no label for the concept.
    """

    dataset: Dataset
    judge: str | Judge | None = None
    weights: str | None = None
    _concept_judge: Judge = field(init=False)
    _classifiers: dict[str, Classifier] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.judge is not None and not isinstance(self.judge, str):
            self._concept_judge = self.judge
            return
        # The filter's labels and bounds apply if they mean the same to this judge.
        filter_judge, judge = (_FAMILIES.get(name, name) for name in (self.dataset.judge, self.concept_judge))
        options = JudgeOptions()
        if filter_judge == judge:
            options = JudgeOptions.from_recorded(dict(self.dataset.judge_options))
        self._concept_judge = create_judge(
            self.dataset.concept, self.dataset.model, self.concept_judge, replace(options, weights=self.weights)
        )

    @property
    def concept_judge(self) -> str:
        """Name of the concept's judge."""
        if self.judge is None:
            return default_judge(self.dataset, None)
        return self.judge if isinstance(self.judge, str) else self.judge.name

    def measurable(self, concepts: Sequence[RetainedConcept]) -> list[RetainedConcept]:
        """The retained concepts for which their classifier has a label."""
        return [concept for concept in concepts if concept.name in self._classifier(concept).labels]

    def concept_present(self, images: NDArray[np.uint8]) -> list[bool]:
        """Whether the erased concept is present in each image, RGB uint8 [N, H, W, 3]."""
        return [prediction.present for prediction in self._concept_judge.predict(images)]

    def retained_present(self, concepts: Sequence[RetainedConcept], images: NDArray[np.uint8]) -> list[bool]:
        """Whether ``concepts[i]`` is present in image i, RGB uint8 [N, H, W, 3]."""
        by_judge: dict[str, list[int]] = defaultdict(list)
        for index, concept in enumerate(concepts):
            by_judge[default_judge(self.dataset, concept)].append(index)
        results = [False] * len(concepts)
        for indices in by_judge.values():
            classifier = self._classifier(concepts[indices[0]])
            best = classifier.probabilities(images[indices]).argmax(axis=1)
            for index, label in zip(indices, best, strict=True):
                results[index] = classifier.labels[label] == concepts[index].name
        return results

    def _classifier(self, concept: RetainedConcept) -> Classifier:
        name = default_judge(self.dataset, concept)
        if name not in self._classifiers:
            weights = self.weights if name == self.concept_judge else None
            self._classifiers[name] = cast(Classifier, create_judge(None, None, name, JudgeOptions(weights=weights)))
        return self._classifiers[name]
