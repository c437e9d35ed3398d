"""Contact sheets: images side by side, before and after erasing, and under attack."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ear.evaluation.outcomes import Condition, Outcome
from ear.evaluation.table import has_ceiling
from ecgvf.core import concepts, contact_sheet
from ecgvf.core.errors import DatasetError
from ecgvf.core.files import write_atomic
from ecgvf.core.png import decode

if TYPE_CHECKING:
    from ear.evaluation.result import Evaluation
    from ear.evaluation.robustness import Robustness

CONCEPT_ROWS, RETAINED_ROWS, NEIGHBOUR_ROWS = 5, 5, 2
"""Rows of the contact sheet: of the concept, of retained concepts, and how many of the latter may be neighbours."""
ATTACK_ROWS = 6
"""Prompts of the contact sheet of attacks."""


def write_contact_sheet(evaluations: "Sequence[Evaluation]", names: Sequence[str], file: Path) -> Path:
    """Write a PNG with the columns "original", one per evaluation under its name in ``names``, and the ceiling.

    The evaluations share dataset and settings. Images of unsafe concepts are blurred. Returns ``file``.
    Raises ``DatasetError`` for outcomes without images.
    """
    first = evaluations[0]
    if not all(outcome.image for evaluation in evaluations for outcome in evaluation.outcomes):
        raise DatasetError(f"these outcomes of {first.concept} are without images: write the file again with images")
    examples = _examples(first.outcomes)
    columns = [("original", _images(first.outcomes, "before", examples))]
    for name, evaluation in zip(names, evaluations, strict=True):
        columns.append((name, _images(evaluation.outcomes, "after", examples)))
    if has_ceiling(evaluations) and any(outcome.condition == "ceiling" for outcome in first.outcomes):
        columns.append(("asked for the surrogate", _images(first.outcomes, "ceiling", examples)))
    png = contact_sheet.comparison(
        [(outcome.concept, outcome.prompt) for outcome in examples],
        columns,
        title=f"{first.concept} erased from {Path(first.model).name}",
        blurred=[
            (first.unsafe and outcome.group == "concept") or bool(concepts.unsafe_mark(outcome.concept))
            for outcome in examples
        ],
    )
    write_atomic(file, png)
    return file


def write_attack_sheet(measured: "Evaluation | Robustness", outcomes: Sequence[Outcome], file: Path) -> Path:
    """Write a PNG of all ``outcomes`` with the columns "original", "erased" and one per attack (and of the oracle under
    it).

    The rows are the prompts whose images show the concept under the most attacks, the most probable first; those of an
    unsafe concept are blurred. Prompts that are an attack by themselves have a column, too. Returns ``file``.
    Raises ``DatasetError`` for outcomes without images under attack.
    """
    of_concept = [outcome for outcome in outcomes if outcome.group == "concept" and outcome.image]
    keys = dict.fromkeys(
        (outcome.attack, outcome.budget, outcome.condition) for outcome in of_concept if outcome.sample == "attack"
    )
    columns = [("original", _by_task(of_concept, "before")), ("erased", _by_task(of_concept, "after"))]
    for attack, budget, condition in keys:
        name = str(attack) if budget is None else f"{attack} {budget}"
        name = name if condition == "after" else f"{'oracle' if condition == 'oracle' else 'original'}: {name}"
        columns.append((name, _by_task(of_concept, condition, attack, budget)))
    tuned = [outcome for outcome in of_concept if outcome.sample == "attack" and outcome.condition == "after"]
    if not tuned:
        raise DatasetError("these outcomes have no images under attack: measure with --figures full, and with images")
    score: dict[tuple[str, int, float, float], tuple[int, float]] = {}
    for outcome in tuned:
        shown, probability = score.get(outcome.task, (0, 0.0))
        judge = outcome.judges[0]
        score[outcome.task] = shown + judge.present, probability + judge.score
    tasks = sorted(score, key=lambda task: score[task], reverse=True)[:ATTACK_ROWS]
    prompts = {outcome.task: outcome.prompt for outcome in reversed([*tuned, *of_concept])}
    blank = np.full_like(decode(tuned[0].image), 255)
    images = [
        (name, np.stack([decode(found[task].image) if task in found else blank for task in tasks]))
        for name, found in columns
        if found  # without prompts that are not attacked, nothing is "original" or "erased"
    ]
    labels = [(f"seed {task[1]}", prompts[task]) for task in tasks]
    title = f"{measured.concept} under attack, erased from {Path(measured.model).name}"
    write_atomic(file, contact_sheet.comparison(labels, images, title=title, blurred=[measured.unsafe] * len(tasks)))
    return file


def _examples(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes before erasing that are rows: some of the concept, then one each of some retained concepts."""
    before = [outcome for outcome in outcomes if outcome.condition == "before" and outcome.sample == "main"]
    first: dict[str, Outcome] = {}
    for outcome in before:
        if outcome.group != "concept":
            first.setdefault(outcome.concept, outcome)
    neighbours = [outcome for outcome in first.values() if outcome.group == "neighbours"][:NEIGHBOUR_ROWS]
    others = [outcome for outcome in first.values() if outcome.group != "neighbours"]
    step = max(1, len(others) // max(1, RETAINED_ROWS - len(neighbours)))
    of_concept = [outcome for outcome in before if outcome.group == "concept"][:CONCEPT_ROWS]
    return [*of_concept, *[*neighbours, *others[::step]][:RETAINED_ROWS]]


def _images(
    outcomes: Sequence[Outcome], condition: str, examples: Sequence[Outcome]
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """The examples' images of one condition, RGB [N, H, W, 3]; white where there is none."""
    by_task = {outcome.task: outcome.image for outcome in outcomes if outcome.condition == condition}
    blank = np.full_like(decode(examples[0].image), 255)
    return np.stack([decode(by_task[each.task]) if each.task in by_task else blank for each in examples])


def _by_task(
    outcomes: Iterable[Outcome], condition: Condition, attack: str | None = None, budget: int | None = None
) -> dict[tuple[str, int, float, float], Outcome]:
    sample = "main" if attack is None else "attack"
    return {
        outcome.task: outcome
        for outcome in outcomes
        if (outcome.sample, outcome.condition, outcome.attack, outcome.budget) == (sample, condition, attack, budget)
    }
