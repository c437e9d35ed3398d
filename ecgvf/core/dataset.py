"""A dataset as ``ear`` gets it, whether from a store, from exported files or from the Hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecgvf.core.concepts import Concept
from ecgvf.core.records import PromptPair, Rendering


@dataclass(frozen=True, slots=True)
class AcceptedRecord:
    """An accepted record with its images."""

    pair: PromptPair
    target: Rendering
    surrogate: Rendering | None
    """None for a test record."""


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
    test: tuple[AcceptedRecord, ...]
