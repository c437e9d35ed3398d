"""Renew what README.md and docs/results.md show of docs/benchmark.json and docs/benchmark-wordings.json.

    python -m tools.results        # after make benchmark or make benchmark-wordings

The text around the tables stays: read it again. Tests compare the tables.
"""

import json
from pathlib import Path

import typer
from tabulate import tabulate

from ear.evaluation.figures import GROUPS
from ear.suite.leaderboard import REFERENCES, leaderboard_table, text
from ecgvf.core.files import JSON
from ecgvf.core.records import WORDINGS

README, RESULTS = Path("README.md"), Path("docs/results.md")
SEED_COLUMNS = {
    "concept_present": "shows the concept",
    "shows_surrogate": "shows its surrogate",
    "nll_frozen": "nats per token",
    "retention neighbours": "neighbours",
    "retention pooled": "all retained",
}
"""Figure (of the retained concepts with their group) → its column in the table of seeds."""
LOSSES = 3
"""How many of the retained concepts that lose most are listed for each erased concept."""
SHOWN = ("concept_present", "shows_surrogate")
"""The figures of each class of wordings."""


def main() -> None:
    """Write both files."""
    content: JSON = json.loads(Path("docs/benchmark.json").read_text(encoding="utf-8"))
    results = RESULTS.read_text(encoding="utf-8")
    results = replace_table(results, "| concept   |", leaderboard_table(content))
    results = replace_table(results, "| | adapters |", seeds_table(content))
    results = replace_table(results, "| erased |", losses_table(content))
    wordings = json.loads(Path("docs/benchmark-wordings.json").read_text(encoding="utf-8"))
    results = replace_table(results, "| class | prompts |", wordings_table(wordings))
    RESULTS.write_text(results, encoding="utf-8")
    readme = README.read_text(encoding="utf-8")
    README.write_text(replace_table(readme, "| concept   |", part_of(content, table_in(readme))), encoding="utf-8")


def seeds_table(content: JSON) -> str:
    """From the lowest to the highest of the adapters of each method with several, in Markdown."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in content["by_seed"]:
        column = f"{row['figure']} {row['group']}" if row["figure"] == "retention" else row["figure"]
        found.setdefault((row["concept"], row["recipe"]), {}).setdefault(column, []).append(row["value"])
    lines = [f"| | adapters | {' | '.join(SEED_COLUMNS.values())} |", f"|{'---|' * (2 + len(SEED_COLUMNS))}"]
    for (concept, method), values in found.items():
        ranges = (dict.fromkeys(f"{end(values[column]):.3f}" for end in (min, max)) for column in SEED_COLUMNS)
        cells = (f"{concept} `{method}`", str(len(values["nll_frozen"])), *map(" to ".join, ranges))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def losses_table(content: JSON) -> str:
    """The retained concepts that lose most by the recipe that has goals, in Markdown."""
    [recipe] = {row["recipe"] for row in content["rows"] if row["figure"] == "goal_concept_present"}
    rows = {(row["concept"], row["recipe"], row["figure"], row["group"]): row for row in content["rows"]}
    lines = ["| erased | shown less | prompts | before | after |", "|---|---|---|---|---|"]
    for concept in dict.fromkeys(row["concept"] for row in content["rows"]):
        losses = [row for key, row in rows.items() if key[:3] == (concept, recipe, "retention_change")]
        losses = [row for row in losses if row["group"] not in (*GROUPS, "pooled")]
        for row in sorted(losses, key=lambda row: float(row["value"]))[:LOSSES]:
            lost = row["group"]
            before, after = (text(rows[concept, method, "retention", lost], 3) for method in ("original", recipe))
            lines.append(f"| {concept} | {lost} | {row['n']} | {before} | {after} |")
    return "\n".join(lines)


def wordings_table(content: JSON) -> str:
    """What each method leaves and shows in each class of wordings, in Markdown."""
    rows = {(row["concept"], row["class"], row["recipe"], row["figure"]): row for row in content["rows"]}
    classes = dict.fromkeys((concept, wording) for concept, wording, *_ in rows if wording in WORDINGS)
    methods = [recipe for recipe in dict.fromkeys(row["recipe"] for row in content["rows"]) if recipe not in REFERENCES]
    heads = ["class", "prompts", "phrases", "shown before"]
    heads += [f"{what}, `{method}`" for method in methods for what in ("shown", "surrogate")] + ["surrogate, ceiling"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for concept, wording in classes:
        before = rows[concept, wording, "original", "concept_present"]
        found = [before, *(rows[concept, wording, method, figure] for method in methods for figure in SHOWN)]
        found.append(rows[concept, wording, "ceiling", "shows_surrogate"])
        cells = [f"{concept}, {wording.replace('_', ' ')}", str(before["n"]), str(before["phrases"])]
        lines.append(f"| {' | '.join([*cells, *(text(row, 3) for row in found)])} |")
    return "\n".join(lines)


def part_of(content: JSON, shown: str) -> str:
    """Those rows and columns of the leaderboard that the table ``shown`` has."""
    whole, wanted = cells_of(leaderboard_table(content)), cells_of(shown)
    columns = [whole[0].index(column) for column in wanted[0]]
    methods = {tuple(row[:2]) for row in wanted}
    head, *rows = [[row[column] for column in columns] for row in whole if tuple(row[:2]) in methods]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def cells_of(table: str) -> list[list[str]]:
    """The cells of a Markdown table, without the line below its head."""
    head, _, *rows = table.splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *rows)]


def table_in(page: str, head: str = "| concept   |") -> str:
    """The table of ``page`` whose first line begins with ``head``."""
    return page[page.index(head) :].split("\n\n")[0].rstrip("\n")


def replace_table(page: str, head: str, table: str) -> str:
    """Replace the table of ``page`` whose first line begins with ``head``."""
    return page.replace(table_in(page, head), table, 1)


if __name__ == "__main__":
    typer.run(main)
