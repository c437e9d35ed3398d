"""A dataset as ``ear`` reads it, from a store, from exported files or from the Hub."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ecgvf.core.concepts import Concept
from ecgvf.core.openings import Opening
from ecgvf.core.records import EvaluationSplit, PromptPair, Rendering
from ecgvf.core.sampling import Sampling


@dataclass(frozen=True, slots=True)
class AcceptedRecord:
    """An accepted record with its renderings, whose ``image`` is empty if images were not read."""

    pair: PromptPair
    target: Rendering
    surrogate: Rendering | None
    """None if the record has no surrogate prompt, or if that could not be rendered; a training record has one."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The accepted records of one acceptance set, in record order."""

    concept: Concept
    model: str
    """Name or path of the model that rendered the images."""
    renderer: str
    """That model's fingerprint."""
    sampling: Sampling
    """How their image tokens were sampled."""
    run_seed: int
    judge: str
    """Name of the judge that filtered. Evaluation uses another for the things of nano's world; photographs, styles and
    nudity are measured by this one (``ear.evaluation.judges.open_judges``)."""
    judge_options: Mapping[str, Any]
    """What creates it again, as ``JudgeOptions.recorded`` gives it; empty for a judge that is not of this package."""
    fingerprint: str
    train: tuple[AcceptedRecord, ...]
    validation: tuple[AcceptedRecord, ...]
    """Empty in datasets that are older than this split."""
    test: tuple[AcceptedRecord, ...]
    retain: tuple[AcceptedRecord, ...] | None = None
    """Prompts of other concepts (``PromptPair.retained_concept``) with their images. None without a retain split: then
    Janus-nano's grammar writes such prompts when they are needed, and other models use the shipped captions."""
    rejected: tuple[PromptPair, ...] | None = field(default=None, compare=False)
    """The records that were not accepted, with their reasons; None if the dataset does not include them."""
    openings: tuple[Opening, ...] = field(default=(), compare=False)
    """Measurements on the test split that the dataset knows of."""

    def evaluation(self, split: EvaluationSplit) -> tuple[AcceptedRecord, ...]:
        """The records of an evaluation split."""
        return self.validation if split == "validation" else self.test
