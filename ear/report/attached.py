"""The JSON files that a report shows beside a suite, as far as it shows them; what they hold besides is ignored."""

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class _Figure(_Part):
    value: float | None
    n: int
    low: float | None
    high: float | None


class _Attack(_Part):
    attack: str
    budget: int | None
    applicable: bool
    original: _Figure
    unattacked: _Figure
    after: _Figure
    oracle: _Figure
    above_oracle: _Figure
    absent: _Figure


class Attacks(_Part):
    """What `ear attack --json` prints."""

    concept: str
    adapter: list[str] = Field(min_length=1)
    split: str
    attacks: list[_Attack]


class _Cluster(_Part):
    size: int
    prompts: list[str]


class _Finding(_Part):
    images: str
    token: bool
    method: str
    in_clusters: _Figure
    clusters: list[_Cluster]


class Memorisation(_Part):
    """What `ear memorisation` writes."""

    sheet: str | None = None
    blurred: bool = False
    """Earlier versions did not write it."""
    concept: str | None = None
    prompts: str | None = None
    findings: list[_Finding]


class _TrialFigure(_Figure):
    figure: str
    group: str


class _Trial(_Part):
    concept: str
    recipe: str
    options: dict[str, float]
    figures: list[_TrialFigure] | None


class Trials(_Part):
    """What benchmarks/frontier.py writes."""

    split: str
    trials: list[_Trial]


class _JudgeAgreement(_Part):
    reviewer: str
    judge: str
    condition: str
    agreement: _Figure | None = None
    kappa: _Figure | None = None


class Agreement(_Part):
    """What `ecgvf review --images --json` prints."""

    agreement: list[_JudgeAgreement]
