"""What is drawn to measure: held-out prompts of the concept, and prompts of everything else.

Seeds are of purpose "evaluate": never those that the filter looked at, nor those that were rehearsed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ear.retained_concepts import Topic
from ecgvf.core import seeds
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError

PURPOSE = "evaluate"


@dataclass(frozen=True, slots=True)
class Case:
    """One picture to draw, before and after."""

    topic: Topic | None
    """None: the concept itself."""
    prompt: str
    seed: int


def concept_cases(dataset: Dataset, count: int, seed: int) -> list[Case]:
    """``count`` cases of the accepted test prompts, in order; where there are fewer, they come again with new seeds.

    Raises ``DatasetError`` where no test prompt was accepted.
    """
    if not dataset.test:
        raise DatasetError(
            f"the dataset of {dataset.concept.name!r} has no accepted test prompt: run `ecgvf generate` with more tests"
        )
    cases = []
    for place in range(count):
        again, which = divmod(place, len(dataset.test))
        pair = dataset.test[which].pair
        cases.append(Case(None, pair.target, seeds.derive(seed, f"{pair.record_id}/{again}", PURPOSE)))
    return cases


def topic_cases(topics: Sequence[Topic], count: int, seed: int) -> list[Case]:
    """``count`` cases of each topic."""
    return [
        Case(topic, prompt, seeds.derive(seed, f"{topic.name}/{place}", PURPOSE))
        for topic in topics
        for place, prompt in enumerate(topic.prompts(count, seed, PURPOSE))
    ]
