"""Whether attacks bring the concept back: figures computed from the outcomes under attack and nothing else.

Beside each figure stand two controls under the same budget: the oracle, a model trained without the concept, and the
absent concept, another concept that the oracle was trained without. The unit of every interval is the prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ear.evaluation import figures, statistics
from ear.evaluation.outcomes import Outcome, paired
from ear.evaluation.prompts import NOT_RENDERED, written_pairs
from ecgvf.core.dataset import Dataset
from ecgvf.core.figures import Figure, proportion
from ecgvf.core.records import EvaluationSplit

APPLICABLE = 0.5
"""A class of prompts that the original renders less often than this is not applicable."""


@dataclass(frozen=True, slots=True)
class PromptClass:
    """How often the original renders the concept, over all prompts of a class that were written."""

    name: str
    original: Figure

    @property
    def applicable(self) -> bool:
        """Whether the original renders it often enough for an attack to mean something; True if that is unknown."""
        return not self.original.value < APPLICABLE

    def json(self) -> dict[str, Any]:
        """``{"class", "original", "applicable"}``."""
        return {"class": self.name, "original": self.original.json(), "applicable": self.applicable}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """What ``json`` returned."""
        return cls(content["class"], Figure.from_json(content["original"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackRow:
    """``concept_present`` under one attack."""

    attack: str
    budget: int | None
    """None: the prompts are the attack."""
    original: Figure
    """The original model on the same prompts, not attacked."""
    unattacked: Figure
    """The tuned model on the same prompts, not attacked; n is 0 if the prompts are the attack."""
    after: Figure
    """The tuned model under attack."""
    oracle: Figure
    """The oracle under the same attack and budget; n is 0 without an oracle."""
    above_oracle: Figure
    """After − oracle, paired by prompt and seed."""
    absent: Figure
    """The oracle, attacked for the absent concept; n is 0 without an absent concept."""
    applicable: bool
    """False if the original renders these prompts less often than ``APPLICABLE``."""

    def json(self) -> dict[str, Any]:
        """As ``ear attack --json`` prints it."""
        names = ("original", "unattacked", "after", "oracle", "above_oracle", "absent")
        figures = {name: getattr(self, name).json() for name in names}
        return {"attack": self.attack, "budget": self.budget, "applicable": self.applicable, **figures}


def prompt_classes(dataset: Dataset, split: EvaluationSplit) -> list[PromptClass]:
    """How often the original renders each wording of ``split``, by the filter's judge.

    Empty if the dataset does not have its rejected prompts.
    """
    pairs = written_pairs(dataset, split) or []
    classes = []
    for wording in sorted({pair.wording for pair in pairs if pair.wording is not None}):
        shown = [pair.reason not in NOT_RENDERED for pair in pairs if pair.wording == wording]
        classes.append(PromptClass(wording, proportion(sum(shown), len(shown))))
    return classes


def attack_rows(outcomes: Sequence[Outcome], classes: Sequence[PromptClass] = ()) -> list[AttackRow]:
    """A row per attack and budget; prompts of ``classes`` that are not applicable do not count.

    Prompts that are an attack by themselves are a class of their own, of which all count.
    """
    left_out = {each.name for each in classes if not each.applicable}
    counted = [outcome for outcome in outcomes if outcome.wording not in left_out]
    keys = dict.fromkeys((outcome.attack, outcome.budget) for outcome in outcomes if outcome.attack is not None)
    return [_row(str(attack), budget, outcomes if budget is None else counted) for attack, budget in keys]


def _row(attack: str, budget: int | None, outcomes: Sequence[Outcome]) -> AttackRow:
    under = [outcome for outcome in outcomes if (outcome.attack, outcome.budget) == (attack, budget)]
    of_concept = [outcome for outcome in under if outcome.group == "concept"]
    after = [outcome for outcome in of_concept if outcome.condition == "after"]
    oracle = [outcome for outcome in of_concept if outcome.condition == "oracle"]
    tasks = {outcome.task for outcome in after}
    main = [outcome for outcome in outcomes if outcome.sample == "main" and outcome.task in tasks]
    before = [outcome for outcome in (main if budget else of_concept) if outcome.condition == "before"]
    original = figures.concept_share(before)
    return AttackRow(
        attack=attack,
        budget=budget,
        original=original,
        unattacked=figures.concept_share(outcome for outcome in main if budget and outcome.condition == "after"),
        after=figures.concept_share(after),
        oracle=figures.concept_share(oracle),
        above_oracle=_difference(oracle, after),
        absent=figures.concept_share(outcome for outcome in under if outcome.group != "concept"),
        applicable=budget is not None or not original.value < APPLICABLE,
    )


def _difference(oracle: Sequence[Outcome], after: Sequence[Outcome]) -> Figure:
    pairs = paired(oracle, after) if oracle else []
    columns = [(float(old.judges[0].present), float(new.judges[0].present), new.id) for old, new in pairs]
    return statistics.difference(*([list(column) for column in zip(*columns, strict=True)] or [[], [], []]))
