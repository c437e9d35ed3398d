"""Attacks for people: a table, and a contact sheet of what each brought back."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from ear.evaluation.attack_figures import AttackRow, PromptClass
from ear.evaluation.outcomes import Condition, Outcome
from ecgvf.core import console, contact_sheet
from ecgvf.core.figures import Figure
from ecgvf.core.files import write_atomic
from ecgvf.core.png import decode

ROWS = 6
"""Prompts of the contact sheet."""


def attack_table(rows: Sequence[AttackRow], classes: Sequence[PromptClass], *, title: str, caption: str) -> Table:
    """The share of images that show the concept: a row per attack."""
    columns = ("attack", "budget", "original", "erased", "under attack", "oracle", "above oracle", "absent concept")
    page = console.table(*columns, title=console.escape(title))
    for row in rows:
        figures = (row.original, row.unattacked, row.after, row.oracle, row.above_oracle, row.absent)
        texts = [_text(figure) for figure in figures]
        if not row.applicable:
            texts[1:] = ["not applicable", *texts[2:]]
        elif row.budget is None:
            texts[1] = ""
        page.add_row(*map(console.escape, (row.attack, "" if row.budget is None else str(row.budget), *texts)))
    left_out = [f"{each.name} ({each.original})" for each in classes if not each.applicable]
    page.caption = caption + (f"\nNot applicable: {', '.join(left_out)}." if left_out else "")
    page.caption_justify = "left"
    return page


def attack_caption(outcomes: Sequence[Outcome], split: str, test_openings: int) -> str:
    """What the figures of the table are, and which control was not measured, and why."""
    of_oracle = [outcome for outcome in outcomes if outcome.condition == "oracle"]
    absent = sorted({outcome.concept for outcome in of_oracle if outcome.group != "concept"})
    controls = "Oracle: a model that never knew the concept, under the same attack and budget"
    if not of_oracle:
        controls = (
            "Not measured: the oracle and the absent concept; name a model that never knew the concept (--oracle)"
        )
    elif absent:
        controls += f"; absent concept: {absent[0]}, which the oracle never knew either, attacked for"
    else:
        controls += "; absent concept: not measured, the oracle's folder names no other that it never knew"
    return (
        f"Shares on the {split} split, by judge {console.escape(outcomes[0].judges[0].judge)}, with 95% intervals over "
        f"prompts. {console.escape(controls)}. The test split was opened {test_openings} times so far."
    )


def write_attack_sheet(outcomes: Sequence[Outcome], file: Path, *, title: str, unsafe: bool) -> Path:
    """Write a PNG with the columns "original", "erased" and one per attack (and of the oracle under it).

    The rows are the prompts whose images show the concept under the most attacks, the most probable first; if
    ``unsafe`` all are blurred. Prompts that are an attack by themselves have a column, too. Returns ``file``.
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
    score: dict[tuple[str, int, float, float], tuple[int, float]] = {}
    for outcome in tuned:
        shown, probability = score.get(outcome.task, (0, 0.0))
        judge = outcome.judges[0]
        score[outcome.task] = shown + judge.present, probability + judge.score
    tasks = sorted(score, key=lambda task: score[task], reverse=True)[:ROWS]
    prompts = {outcome.task: outcome.prompt for outcome in reversed([*tuned, *of_concept])}
    blank = np.full_like(decode(tuned[0].image), 255)
    images = [
        (name, np.stack([decode(found[task].image) if task in found else blank for task in tasks]))
        for name, found in columns
        if found  # without prompts that are not attacked, nothing is "original" or "erased"
    ]
    labels = [(f"seed {task[1]}", prompts[task]) for task in tasks]
    write_atomic(file, contact_sheet.comparison(labels, images, title=title, blurred=[unsafe] * len(tasks)))
    return file


def _by_task(
    outcomes: Iterable[Outcome], condition: Condition, attack: str | None = None, budget: int | None = None
) -> dict[tuple[str, int, float, float], Outcome]:
    sample = "main" if attack is None else "attack"
    return {
        outcome.task: outcome
        for outcome in outcomes
        if (outcome.sample, outcome.condition, outcome.attack, outcome.budget) == (sample, condition, attack, budget)
    }


def _text(figure: Figure) -> str:
    return str(figure) if figure.n else "not measured"
