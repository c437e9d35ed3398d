"""A dataset as ``ear`` gets it, whether from a store, from exported files or from the Hub."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ecgvf.core.concepts import Concept
from ecgvf.core.openings import Opening
from ecgvf.core.records import EvaluationSplit, PromptPair, Rendering


@dataclass(frozen=True, slots=True)
class AcceptedRecord:
    """An accepted record with its images."""

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
    sampling: Mapping[str, Any]
    """The fields of ``ecgvf.janus.Sampling``."""
    run_seed: int
    judge: str
    """Name of the judge that filtered; another one measures."""
    judge_options: Mapping[str, Any]
    """What that judge was asked beyond the concept's own labels and bounds, as ``JudgeOptions.recorded`` gives it."""
    fingerprint: str
    train: tuple[AcceptedRecord, ...]
    validation: tuple[AcceptedRecord, ...]
    """Empty in a dataset from before there was validation."""
    test: tuple[AcceptedRecord, ...]
    retain: tuple[AcceptedRecord, ...] | None = None
    """Prompts of other concepts (``PromptPair.retained_concept``) with their images. None without a retain split: for
    Janus-nano, whose grammar writes them when they are needed, and if they are left to the captions that ship."""
    rejected: tuple[PromptPair, ...] | None = field(default=None, compare=False)
    """The records that were not accepted, with their reason: with the accepted ones, all that was written. None if the
    dataset does not tell."""
    openings: tuple[Opening, ...] = field(default=(), compare=False)
    """Who looked at ``test``, as far as the dataset tells."""

    def evaluation(self, split: EvaluationSplit) -> tuple[AcceptedRecord, ...]:
        """The records of an evaluation split."""
        return self.validation if split == "validation" else self.test
