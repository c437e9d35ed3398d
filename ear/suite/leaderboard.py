"""The leaderboard: methods as rows, figures as columns, with intervals."""

from collections.abc import Mapping, Sequence

from ecgvf.core import console
from ecgvf.core.files import JSON

COLUMNS = {
    "concept_present": "shows the concept",
    "shows_surrogate": "shows its surrogate",
    "shows_something": "shows something",
    "scene_kept": "scene kept",
    "nll_frozen": "nats per token",
    "retention neighbours": "neighbours",
    "retention surrogates": "surrogates",
    "retention pooled": "all retained",
}
"""Figure (of the retained concepts with their group) → its column."""

MISSING = "cells"
"""The ``figure`` of a row that stands for cells which have yet to be measured."""

NOT_APPLICABLE = "not applicable"
"""A figure that would show nothing: retention of the ceiling, which for other concepts is the original, and figures of
prompts that the original hardly renders."""

REFERENCES = ("original", "ceiling", "oracle")
"""Rows beside the methods: the frozen model, the frozen model given the surrogate prompt, and a model trained without
the concept."""


def leaderboard(content: JSON) -> str:
    """The leaderboard of a suite's results, in Markdown, below it its caption and the cells yet to be measured."""
    missing = [
        f"{concept} {method} ({console.counted(count, 'cell')})"
        for concept, method, count in missing_cells(content["rows"])
    ]
    parts = [leaderboard_table(content), caption(content)] if standings(content["rows"]) else []
    return "\n\n".join([*parts, *([f"Not measured: {', '.join(missing)}."] if missing else [])])


def missing_cells(rows: Sequence[JSON]) -> list[tuple[str, str, int]]:
    """(concept, method, number of cells) that have yet to be measured."""
    return [(row["concept"], row["recipe"], len(row["run_seeds"])) for row in rows if row["figure"] == MISSING]


def leaderboard_table(content: JSON) -> str:
    """The table alone, of at least a row (``standings``)."""
    from tabulate import tabulate

    lines = [[concept, method, *map(text, cells)] for concept, method, cells in standings(content["rows"])]
    return tabulate(lines, ["concept", "method", *COLUMNS.values()], tablefmt="github", disable_numparse=True)


def by_seed(content: JSON) -> str:
    """How the adapters of a method differ, in Markdown: its figures for each run seed and training seed; "" if no
    method has several."""
    from tabulate import tabulate

    adapters: dict[tuple[str, ...], list[JSON]] = {}
    for row in content["by_seed"]:
        seeds = ", ".join(str(seed) for seed in (*row["run_seeds"], *row["training_seeds"]))
        adapters.setdefault((row["concept"], row["recipe"], seeds), []).append(row)
    if not adapters:
        return ""
    lines = []
    for adapter, rows in adapters.items():
        figures = main_figures(rows)
        lines.append([*adapter, *(text(figures.get(column, "not measured")) for column in COLUMNS)])
    headers = ["concept", "method", "run seed, training seed", *COLUMNS.values()]
    table = tabulate(lines, headers, tablefmt="github", disable_numparse=True)
    return (
        "\nBy seed: each adapter of methods with several. A run seed decides the pairs and the noise of their images, "
        f"a training seed the order and what training samples.\n\n{table}\n"
    )


def caption(content: JSON) -> str:
    """What the table does not say: the model, the split, the judges, how often test was opened, and the prompts."""
    lines = standings(content["rows"])
    first = next(cell for _, _, cells in lines for cell in cells if not isinstance(cell, str))
    by_judge: dict[str, list[str]] = {}
    for concept, judge in _judges(content["rows"], [concept for concept, _, _ in lines]).items():
        by_judge.setdefault(judge, []).append(concept)
    judges = "; ".join(f"{judge} ({', '.join(concepts)})" for judge, concepts in by_judge.items())
    return (
        f"{first['model']}, {first['split']} split, 95% intervals over prompts. Judges of the concept: {judges}. "
        f"{openings_sentence(content['test_openings'])}\n\nPrompts (n): {prompt_counts(content['rows'])}."
    )


def prompt_counts(rows: Sequence[JSON]) -> str:
    """The numbers of prompts (n) of the cells of each column, from the least to the most."""
    found = []
    for place, column in enumerate(COLUMNS.values()):
        counts = {row["n"] for *_, cells in standings(rows) if not isinstance(row := cells[place], str)}
        if counts:
            found.append(f"{column} {min(counts)}" + (f" to {max(counts)}" if len(counts) > 1 else ""))
    return ", ".join(found)


def openings_sentence(counts: Mapping[str, JSON | None]) -> str:
    """How often the test split of each concept was opened (``count_openings``), in a sentence."""

    def text(count: JSON | None) -> str:
        return "unknown" if count is None else f"{'at least ' if count['at_least'] else ''}{count['count']}"

    known = [f"{concept} {text(count)}" for concept, count in counts.items()]
    return f"Openings of the test split: {', '.join(known)}."


def _judges(rows: Sequence[JSON], concepts: Sequence[str]) -> dict[str, str]:
    """Concept → the judge that says whether it is shown."""
    found: dict[str, str] = {}
    for row in rows:
        if row["concept"] in concepts and row["figure"] == "concept_present" and row["judge"] is not None:
            found.setdefault(row["concept"], row["judge"])
    return found


def standings(rows: Sequence[JSON]) -> list[tuple[str, str, list[JSON | str]]]:
    """(concept, method, cells) per line: a cell is the row of its column's figure, "not measured", or
    ``NOT_APPLICABLE``."""
    pooled = [row for row in rows if row["class"] == "pooled" and row["attack"] is None and row["value"] is not None]
    order = list(dict.fromkeys([*REFERENCES, *(row["recipe"] for row in rows)]))
    concepts = list(dict.fromkeys(row["concept"] for row in rows))
    by_method: dict[tuple[str, str], list[JSON]] = {}
    for row in pooled:
        by_method.setdefault((row["concept"], row["recipe"]), []).append(row)
    found = []
    for concept, method in sorted(by_method, key=lambda name: (concepts.index(name[0]), order.index(name[1]))):
        figures = main_figures(by_method[concept, method])
        if figures:
            found.append((concept, method, [figures.get(column, _blank(method, column)) for column in COLUMNS]))
    return found


def _blank(method: str, column: str) -> str:
    return NOT_APPLICABLE if method == "ceiling" and column.startswith("retention") else "not measured"


def main_figures(rows: Sequence[JSON]) -> dict[str, JSON]:
    """Column → its row, at the guidance and temperature of the main figures.

    ``rows``: of a single concept and method, pooled over wordings; rows of the main sampling come before those of
    other guidance and temperature.
    """
    main = next((row for row in rows if row["figure"] == "concept_present"), None)
    if main is None:
        return {}
    mine = [row for row in rows if (row["guidance"], row["temperature"]) == (main["guidance"], main["temperature"])]
    cells = {f"{row['figure']} {row['group']}": row for row in mine if row["figure"] == "retention"}
    for row in mine:
        # Retained concepts may have "shows something" although the judge of the erased concept cannot tell it.
        if row["group"] == "concept" or (row["group"] == "pooled" and row["figure"] != "shows_something"):
            cells[row["figure"]] = row
    return cells


def text(cell: JSON | str, digits: int = 2) -> str:
    """A cell's value, and its interval if it has one, with ``digits`` digits after the point."""
    if isinstance(cell, str):
        return cell
    value, low, high = ("" if cell[key] is None else f"{cell[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})" if low else value
