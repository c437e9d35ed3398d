"""A suite of one concept, with outcomes that a test states."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ear.evaluation.outcomes import AnsweredQuestion, selected, write_outcomes
from ear.suite import Cell, Measured, Suite, SuiteSpec
from tests.ear.evaluation.small_outcomes import erased, kept


def measured(run_seed: int, training_seed: int, left: int, recipe: str = "paper") -> Measured:
    """A cell in which ``left`` of 12 prompts still show church."""
    outcomes = [*erased(12, left), *kept("castle", "neighbours", 12), *kept("cat", "rehearsed", 12, lost=3)]
    named = f"{recipe}-{run_seed}-{training_seed}"
    after = [replace(outcome, adapter=named) for outcome in selected(outcomes, "after")]
    original = [outcome for outcome in outcomes if outcome.condition != "after"]
    answered = [AnsweredQuestion("1", "image", "others", "present", True, False)]
    return Measured(Cell("church", recipe, run_seed, training_seed), after, original, answered)


def small_suite(folder: Path, **changed: Any) -> Suite:
    """Church and castle, `paper` alone, one seed."""
    fields: dict[str, Any] = {"name": "small", "concepts": ("church", "castle"), "recipes": ("paper",)}
    spec = SuiteSpec(**{**fields, "figures": "default", **changed})
    return Suite(spec, folder / "store", folder / "results")


def keep(suite: Suite, source: Measured) -> None:
    """Write the files of a finished cell."""
    facts = {"key": suite.key(source.cell), "original": "original", "answered": [], "seconds": 60}
    write_outcomes(source.original, suite.results / "original.parquet", images=False)
    write_outcomes(source.outcomes, suite.results / f"{source.cell.name}.parquet", facts, images=False)
