"""Evaluation prompts: those of the dataset's validation or test split, and prompts of every retained concept.

Their seeds have the purpose "evaluate": never those of the filtered images, nor those of the rehearsal set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ear.retained_concepts import RetainedConcept
from ecgvf.core import seeds
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.records import EvaluationSplit

PURPOSE = "evaluate"


@dataclass(frozen=True, slots=True)
class EvaluationPrompt:
    """A prompt that is rendered with one seed by the frozen and by the tuned model."""

    retained: RetainedConcept | None
    """None: the erased concept itself."""
    prompt: str
    seed: int


def concept_prompts(
    dataset: Dataset, count: int, seed: int, split: EvaluationSplit = "validation"
) -> list[EvaluationPrompt]:
    """``count`` prompts: the accepted ones of ``split`` in order, and again with new seeds if there are fewer.

    Raises ``DatasetError`` if there are none.
    """
    records = dataset.evaluation(split)
    if not records:
        name = dataset.concept.name
        if split == "validation" and dataset.test:
            raise DatasetError(
                f"the dataset of {name!r} has no validation split: measure its test split with --split test, which is "
                "recorded, or write one with `ecgvf generate --split validation`"
            )
        raise DatasetError(
            f"the dataset of {name!r} has no accepted {split} prompt: run `ecgvf generate --split {split}`"
        )
    prompts = []
    for index in range(count):
        repetition, position = divmod(index, len(records))
        pair = records[position].pair
        image_seed = seeds.derive(seed, f"{pair.record_id}/{repetition}", PURPOSE)
        prompts.append(EvaluationPrompt(None, pair.target, image_seed))
    return prompts


def retained_prompts(concepts: Sequence[RetainedConcept], count: int, seed: int) -> list[EvaluationPrompt]:
    """``count`` prompts of each retained concept."""
    return [
        EvaluationPrompt(concept, prompt, seeds.derive(seed, f"{concept.name}/{index}", PURPOSE))
        for concept in concepts
        for index, prompt in enumerate(concept.prompts(count, seed, PURPOSE))
    ]
