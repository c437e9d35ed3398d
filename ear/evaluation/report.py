"""Evaluations for people: a table, and a contact sheet."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from ecgvf.core import console, contact_sheet
from ecgvf.core.files import write_atomic

if TYPE_CHECKING:
    from ear.evaluation.evaluation import Change, Evaluation


def table(evaluations: "Sequence[Evaluation]", names: Sequence[str]) -> Table:
    """One column "before", which all ``evaluations`` share, and one per evaluation, called as ``names`` says."""
    first = evaluations[0]
    title = console.escape(f"{first.concept} erased from {first.model}")
    page = console.table("", "before", *map(console.escape, names), title=title)

    def add(name: str, changes: "Sequence[Change]") -> None:
        page.add_row(name, str(changes[0].before), *(str(change.after) for change in changes))

    add(f"[bold]{console.escape(first.concept)}[/bold]", [evaluation.erasure for evaluation in evaluations])
    add("[bold]neighbours[/bold]", [evaluation.neighbours for evaluation in evaluations])
    add("[bold]unrelated[/bold]", [evaluation.unrelated for evaluation in evaluations])
    rates = [evaluation.erasure_rate for evaluation in evaluations]
    page.add_row("erasure rate", "", *("" if rate is None else f"{rate:.3f}" for rate in rates))
    page.add_section()
    rows = zip(*(evaluation.retention for evaluation in evaluations), strict=True)
    for row in sorted(rows, key=lambda row: (not row[0][0].neighbour, row[0][0].family)):
        concept = row[0][0]
        name = f"{concept.name} (neighbour)" if concept.neighbour else concept.name
        add(console.escape(name), [change for _, change in row])
    opened = evaluations[-1].test_openings
    page.caption = (
        f"Accuracy on the {first.split} split by judge {console.escape(first.judge)}, with 95% Wilson intervals. "
        f"The test split was opened {opened} times so far."
    )
    page.caption_justify = "left"
    return page


def text(evaluations: "Sequence[Evaluation]", names: Sequence[str]) -> str:
    """``table`` as plain text."""
    output = Console(file=io.StringIO(), width=200)
    with output.capture() as capture:
        output.print(table(evaluations, names))
    return capture.get().rstrip("\n")


def write_contact_sheet(evaluations: "Sequence[Evaluation]", names: Sequence[str], file: Path) -> Path:
    """Write a PNG with a column "original" and one per evaluation, called as ``names`` says. Returns ``file``.

    The evaluations are of one dataset, with equal settings. Images of an unsafe concept are blurred.
    """
    first = evaluations[0]
    columns = [("original", np.stack([example.before for example in first.examples]))]
    for name, evaluation in zip(names, evaluations, strict=True):
        columns.append((name, np.stack([example.after for example in evaluation.examples])))
    prompts = [example.prompt for example in first.examples]
    rows = [(prompt.retained.name if prompt.retained else first.concept, prompt.prompt) for prompt in prompts]
    png = contact_sheet.comparison(
        rows,
        columns,
        title=f"{first.concept} erased from {Path(first.model).name}",
        blurred=[first.unsafe and prompt.retained is None for prompt in prompts],
    )
    write_atomic(file, png)
    return file
