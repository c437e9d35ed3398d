"""The table of an evaluation or of several, for the terminal or for a document."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table

from ear.evaluation.figures import POOLED, FigureRow
from ear.evaluation.open_split import openings_text
from ear.method.recipes import PROMPT_REWRITE
from ear.tables import rows_as_csv
from ecgvf.core import console, markdown
from ecgvf.core.figures import Figure

if TYPE_CHECKING:
    from ear.evaluation.result import Evaluation, Part

Format = Literal["markdown", "latex", "csv"]

NAMES = {
    "concept_present": "shows the concept",
    "concept_probability": "probability of the concept",
    "shows_surrogate": "shows its surrogate",
    "shows_something": "shows something",
    "scene_kept": "scene kept",
    "clip_surrogate": "CLIP, surrogate prompt",
    "clip_margin": "CLIP, surrogate − target prompt",
    "nll_frozen": "nats per token, frozen model",
    "retention": "shows its concept",
    "token_agreement": "token agreement",
    "concept_present_any": "shows the concept in any seed",
    "understanding": "questions answered correctly",
    "fid": "FID",
    "kid": "KID",
    "clip_score": "CLIP score",
}
"""Figure → its name in a table."""

BY_WORDING = "by class of prompts"
BY_SAMPLING = "other guidance and temperature"
BY_CONCEPT = "one by one, the worst first"
"""Titles of sections that are unlike the others."""

Differences = Sequence[Sequence[FigureRow]]

Key = tuple[str, str, str, float, float]
"""Figure, group, class of prompts, guidance and temperature of a row."""

Section = tuple[str, list[list[str]]]
"""A title and rows: name, before, after per evaluation, ceiling, change or differences."""


def header(evaluations: "Sequence[Evaluation]", names: Sequence[str]) -> list[str]:
    """The columns of every section; with several evaluations, the changes are differences to the first."""
    changes = [f"{name} − {names[0]}" for name in names[1:]] or ["change"]
    ceiling = ["ceiling"] if has_ceiling(evaluations) else []
    return ["", "before", *names, *ceiling, *changes]


def has_ceiling(evaluations: "Sequence[Evaluation]") -> bool:
    """Whether there is a column for the ceiling: not beside `prompt-rewrite`, whose images are the ceiling's."""
    return all(each.recipe != PROMPT_REWRITE.name for each in evaluations)


def sections(evaluations: "Sequence[Evaluation]", differences: Differences = ()) -> list[Section]:
    """The table's sections. The evaluations share "before" and "ceiling", which is left out beside `prompt-rewrite`."""
    parts = list(zip(*map(_parts, evaluations), strict=True))  # the same section of each evaluation
    changed = differences or [[row for of_first, *_ in parts for row in of_first.rows]]
    changes = [{_key(row): row.change for row in rows} for rows in changed]
    ceiling = has_ceiling(evaluations)
    lost = [each.lost for each in evaluations]

    def line(title: str, rows: Sequence[FigureRow]) -> list[str]:
        first = rows[0]
        if title == BY_CONCEPT:
            return _line(first.group, rows, changes, [each.get(first.group) is True for each in lost], ceiling=ceiling)
        name = _sampled(first) if title == BY_SAMPLING else _name(first)
        return _line(name, rows, changes, ceiling=ceiling)

    found = [
        (same[0].title, [line(same[0].title, rows) for rows in _by_figure([each.rows for each in same])])
        for same in parts
    ]
    return [section for section in found if section[1]]


def _parts(evaluation: "Evaluation") -> "list[Part]":
    """The sections, in an order that all evaluations have: the concept may have the title of another section."""
    if evaluation.by_sampling:
        return evaluation.parts
    # The default figures have classes, too, but few prompts of each.
    return [replace(part, rows=()) if part.title == BY_WORDING else part for part in evaluation.parts]


def evaluation_table(evaluations: "Sequence[Evaluation]", names: Sequence[str], differences: Differences = ()) -> Table:
    """The table for the terminal, with a column "after" per evaluation, under its name in ``names``.

    ``differences``, here and below: for each further evaluation, ``comparison.differences`` of the first and it.
    """
    first = evaluations[0]
    title = console.escape(f"{first.concept} erased from {first.model}")
    page = console.table(*map(console.escape, header(evaluations, names)), title=title)
    for title, rows in sections(evaluations, differences):
        page.add_section()
        page.add_row(f"[bold]{console.escape(title)}[/bold]")
        for row in rows:
            page.add_row(*map(console.escape, row))
    page.caption = console.escape("\n".join(_notes(evaluations)))
    page.caption_justify = "left"
    return page


def text(evaluations: "Sequence[Evaluation]", names: Sequence[str]) -> str:
    """``evaluation_table`` as plain text."""
    output = Console(file=io.StringIO(), width=200)
    with output.capture() as capture:
        output.print(evaluation_table(evaluations, names))
    return capture.get().rstrip("\n")


def document(
    evaluations: "Sequence[Evaluation]", names: Sequence[str], form: Format, differences: Differences = ()
) -> str:
    """The rows of ``evaluation_table`` as ``form``, escaped as it requires; in Markdown and LaTeX with its caption, in
    CSV with columns for the split, the judge and the number of openings."""
    from tabulate import tabulate

    rows = [[f"{title}: {row[0]}", *row[1:]] for title, rows in sections(evaluations, differences) for row in rows]
    if form == "csv":
        facts = {"split": evaluations[0].split, "judge": evaluations[0].judge, "test openings": _openings(evaluations)}
        columns = [*header(evaluations, names), *facts]
        return rows_as_csv([columns, *([*row, *facts.values()] for row in rows)])
    notes = _notes(evaluations)
    if form == "latex":
        page = tabulate(rows, header(evaluations, names), tablefmt="latex_booktabs", disable_numparse=True)
        return "\n".join([*(f"% {' '.join(note.split())}" for note in notes), page])
    rows = [[markdown.escape(row[0]), *row[1:]] for row in rows]
    columns = [*map(markdown.escape, header(evaluations, names))]
    page = tabulate(rows, columns, tablefmt="github", disable_numparse=True)
    return "\n\n".join([page, *map(markdown.escape, notes)])


def _by_figure(rows: Sequence[Sequence[FigureRow]]) -> list[list[FigureRow]]:
    """The rows of each figure, one per evaluation, in the order of the first evaluation."""
    keyed = [{_key(row): row for row in each} for each in rows]
    return [[each[key] for each in keyed] for key in keyed[0] if all(key in each for each in keyed)]


def _key(row: FigureRow) -> Key:
    return row.figure, row.group, row.wording, row.guidance, row.temperature


def _name(row: FigureRow) -> str:
    """The figure, after what it is of."""
    name = NAMES[row.figure]
    if row.wording != POOLED:
        phrases = "" if row.phrases is None else f", {console.counted(row.phrases, 'phrase')}"
        return f"{row.wording.replace('_', ' ')}{phrases}: {name}"
    return name if row.group == "concept" else f"{row.group}: {name}"


def _sampled(row: FigureRow) -> str:
    """The figure, after guidance and temperature."""
    return f"guidance {row.guidance:g}, temperature {row.temperature:g}: {NAMES[row.figure]}"


def _line(
    name: str,
    rows: Sequence[FigureRow],
    changes: Sequence[Mapping[Key, Figure]],
    lost: Sequence[bool] = (),
    *,
    ceiling: bool,
) -> list[str]:
    """A row of the table. ``lost``: which evaluations have lost it; their values are marked."""
    first, marked = rows[0], lost or [False] * len(rows)
    return [
        name,
        _text(first.before),
        *(f"{_text(row.after)} *" if mark else _text(row.after) for row, mark in zip(rows, marked, strict=True)),
        *([_text(first.ceiling)] if ceiling else []),
        *(change_text(change.get(_key(first))) for change in changes),
    ]


def _text(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return str(figure) if figure.n else "not measured"


def change_text(figure: Figure | None) -> str:
    """A change or difference, with its sign; empty if it is undefined."""
    if figure is None or math.isnan(figure.value):
        return ""
    if math.isnan(figure.low):
        return f"{figure.value:+.3f}"
    return f"{figure.value:+.3f} [{figure.low:+.3f}, {figure.high:+.3f}]"


def _openings(evaluations: "Sequence[Evaluation]") -> str:
    """How often the test split was opened until the last of the evaluations."""
    count = max(each.test_openings for each in evaluations)
    return str(count) if all(each.all_openings for each in evaluations) else f"at least {count}"


def _notes(evaluations: "Sequence[Evaluation]") -> list[str]:
    """What a table cannot say of itself, a paragraph each."""
    first = evaluations[0]
    untested = sorted({name for each in evaluations for name, lost in each.lost.items() if lost is None})
    few = f"; too few prompts to test {len(untested)} of {len(first.lost)} concepts" if untested else ""
    fewer = f"*: in fewer images than before (one-sided, Holm{few}). "
    if len(untested) == len(first.lost):
        fewer = "Too few prompts to test whether a concept is in fewer images than before. " if untested else ""
    ceiling = "Ceiling: the original model, asked for the surrogate. " if has_ceiling(evaluations) else ""
    notes = [
        f"Shares on the {first.split} split, by judge {first.judge}, with 95% intervals over prompts. "
        f"{ceiling}{fewer}{openings_text(_openings(evaluations))}"
    ]
    if first.not_measured:  # in its groups, as all columns are
        notes.append(f"Not measured: {'; '.join(map(str, first.not_measured))}.")
    if first.fidelity is not None:
        notes.append(first.fidelity.description)
    return notes
