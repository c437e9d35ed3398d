"""What an evaluation measures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ear.evaluation.fidelity.settings import FidelitySettings
from ecgvf.core.errors import SettingsError
from ecgvf.core.records import EvaluationSplit
from ecgvf.core.seeds import check_seed
from ecgvf.judges import Judge

Figures = Literal["default", "full", "paper"]

GUIDANCES = (1.0, 1.25, 2.0, 5.0)
"""Guidance scales of the full figures."""
NANO_GUIDANCES = (1.0, 1.25, 2.0)
"""Those in nano's world, where images are rendered at 1.25."""
TEMPERATURES = (0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """What is measured, and by which judge. Raises ``SettingsError`` for values out of range or that contradict."""

    prompts_per_concept: int | None = None
    """Prompts of the erased concept, and of each retained concept. None: 100, and 3."""
    prompts_per_other: int | None = None
    """Prompts of each retained concept, if the number differs."""
    prompts_per_group: int | None = None
    """At least this many prompts of each group of retained concepts (neighbours, surrogates, …), instead of
    ``prompts_per_other`` of each concept."""
    prompts_per_neighbour: int | None = None
    """Prompts of each neighbour, if the number differs."""
    family: str | None = None
    """Only retained concepts of this family."""
    figures: Figures = "default"
    """full adds wordings, guidance, temperature, more seeds, understanding and attacks; paper adds FID, KID and CLIP
    score."""
    questions: Path | None = None
    """Parquet file of yes/no questions for the full figures (None: nano's own for nano, else none)."""
    fidelity: FidelitySettings | None = None
    """Captions, pictures and encoders of the paper's figures (None: nano's)."""
    oracle: Path | None = None
    """Folder of a model trained without the concept, which the full figures attack as well (None: not measured)."""
    split: EvaluationSplit = "validation"
    """The split whose prompts are measured. That test is measured is recorded in the store (``openings``)."""
    seed: int = 0
    """Decides prompts and images, independent of filtering."""
    judge: str | Judge | None = None
    """The erased concept's judge (None: ``judges.open_judges``)."""
    weights: str | None = None
    """Weights of a judge given by name (None: its own)."""
    batch_size: int | None = None
    """Images rendered at once (None: by the model's size, or the GPU's memory)."""

    def __post_init__(self) -> None:
        if self.split not in get_args(EvaluationSplit):
            raise SettingsError(f"--split {self.split}: measure on {' or '.join(get_args(EvaluationSplit))}")
        if self.figures not in get_args(Figures):
            *names, last = get_args(Figures)
            raise SettingsError(f"--figures {self.figures}: use {', '.join(names)} or {last}")
        if self.figures != "paper" and self.fidelity is not None and (given := self.fidelity.given):
            raise SettingsError(f"{given[0]} is for --figures paper: add it")
        if self.questions is not None and self.figures != "full":
            raise SettingsError(f"--questions {self.questions}: questions are answered with --figures full")
        if self.oracle is not None and self.figures != "full":
            raise SettingsError(f"--oracle {self.oracle}: attacks are measured with --figures full, or by `ear attack`")
        check_seed(self.seed)
        if self.concept_count < 1:
            raise SettingsError(f"--prompts-per-concept {self.concept_count}: it must be at least 1")
        for option in ("prompts_per_group", "prompts_per_neighbour", "batch_size"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise SettingsError(f"{option.replace('_', ' ')}: {value}, but it must be at least 1")
        if self.retained_count < 0:
            raise SettingsError(f"--prompts-per-other {self.retained_count}: it must be 0 or more")

    @property
    def concept_count(self) -> int:
        """Number of prompts of the erased concept."""
        return 100 if self.prompts_per_concept is None else self.prompts_per_concept

    @property
    def retained_count(self) -> int:
        """Number of prompts of each retained concept, unless its group or neighbours have a number of their own."""
        if self.prompts_per_other is not None:
            return self.prompts_per_other
        return 3 if self.prompts_per_concept is None else self.prompts_per_concept
