"""A suite of one concept, with outcomes that a test states."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ear.evaluation.attack_figures import PromptClass
from ear.evaluation.outcomes import AnsweredQuestion, Condition, Outcome, selected, write_outcomes
from ear.suite import Cell, CellResult, Suite, SuiteSpec
from ecgvf.core.figures import proportion
from tests.ear.evaluation.small_outcomes import both, erased, kept


def cell_result(run_seed: int, training_seed: int, left: int, recipe: str = "paper") -> CellResult:
    """A cell in which ``left`` of 12 prompts still show church."""
    outcomes = [*erased(12, left), *kept("castle", "neighbours", 12), *kept("cat", "rehearsed", 12, lost=3)]
    named = f"{recipe}-{run_seed}-{training_seed}"
    after = [replace(outcome, adapter=named) for outcome in selected(outcomes, "after")]
    original = [outcome for outcome in outcomes if outcome.condition != "after"]
    answered = [AnsweredQuestion("1", "image", "others", "present", True, False)]
    return CellResult(Cell("church", recipe, run_seed, training_seed), after, original, answered)


def attacked(oracle: bool) -> CellResult:
    """Under an attack with a budget church is back in 6 of 12 images of the tuned model, and in 3 of the oracle's; a
    class of control tokens is not rendered by the original either."""
    result = cell_result(0, 0, 0)
    mine = [outcome for outcome in result.outcomes if outcome.group == "concept"]
    before = [outcome for outcome in result.original if outcome.group == "concept" and outcome.condition == "before"]

    def under(
        outcomes: Sequence[Outcome], condition: Condition, shown: int, attack: str, budget: int | None
    ) -> list[Outcome]:
        facts: dict[str, Any] = {"sample": "attack", "condition": condition, "attack": attack, "budget": budget}
        return [
            replace(each, judges=both("church" if number < shown else "hotel"), **facts)
            for number, each in enumerate(outcomes)
        ]

    found = under(mine, "after", 6, "soft-prompt", 100)
    found += under(before, "before", 2, "control tokens", None) + under(mine, "after", 0, "control tokens", None)
    if oracle:
        found += under(mine, "oracle", 3, "soft-prompt", 100)
    classes = [PromptClass("explicit", proportion(11, 12)), PromptClass("misspelled", proportion(3, 12))]
    return replace(result, attacked=found, classes=classes)


def small_suite(folder: Path, **changed: Any) -> Suite:
    """Church and castle, `paper` alone, one seed."""
    fields: dict[str, Any] = {"name": "small", "concepts": ("church", "castle"), "recipes": ("paper",)}
    spec = SuiteSpec(**{**fields, "figures": "default", **changed})
    return Suite(spec, folder / "store", folder / "results")


def keep(suite: Suite, source: CellResult, **more: Any) -> None:
    """Write the files of a finished cell, without the facts that cells of the first version lack, or with ``more``."""
    cell = source.cell
    original = f"{cell.concept}-original-{cell.recipe}-{cell.figures}"
    facts = {"key": suite.key(cell), "original": original, "answered": [], "seconds": 60, **more}
    facts["classes"] = [each.json() for each in source.classes]
    write_outcomes(source.original, suite.file(original), {"key": suite.original_key(cell)}, images=False)
    write_outcomes([*source.outcomes, *source.attacked], suite.file(cell.name), facts, images=False)
