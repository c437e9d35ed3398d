"""The table of a suite: tidy rows, one per concept, model or method, figure, group and class.

RESULTS.json            {"met", "command", "versions", "seconds", "rows"}
RESULTS/results.parquet, results.csv   the same rows
RESULTS/leaderboard.md  methods as rows, figures as columns
RESULTS/datasets.json   what the datasets were made of: yield, reasons for rejection, cost
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ear.evaluation import figures
from ear.evaluation.attack_figures import attack_rows
from ear.evaluation.figures import FigureRow
from ear.method.recipes import PROMPT_REWRITE
from ear.suite import goals
from ear.suite.cells import Cell
from ear.suite.leaderboard import REFERENCES, leaderboard
from ear.suite.spec import SuiteSpec
from ear.suite.suite import Measured, Suite
from ecgvf.core.errors import DatasetError, StageMissing
from ecgvf.core.figures import Figure
from ecgvf.core.files import JSON, canonical_json, pretty_json, write_atomic
from ecgvf.core.openings import openings
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import versions

MISSING = "cells"
"""The figure of a row that names cells which have yet to be measured."""

NOT_APPLICABLE = "not applicable"
"""The status of a figure of prompts that the original hardly renders: who resists nothing has not resisted."""

FACTS = b"ear-suite"
"""Key of the facts among the metadata of ``results.parquet``: met, command, versions, seconds, the suite's declaration,
and the cells that are measured with their files and seconds."""

FILE = "results.parquet"
DATASETS = "datasets.json"

_WHAT = (
    *("concept", "model", "recipe", "split", "figure", "group", "class", "attack", "budget"),
    *("guidance", "temperature", "judge", "run_seeds", "training_seeds"),
)
SCHEMA = pa.schema(
    [
        *(
            (name, pa.string())
            for name in ("concept", "model", "recipe", "split", "figure", "group", "class", "attack")
        ),
        ("budget", pa.int64()),
        *((name, pa.float64()) for name in ("guidance", "temperature")),
        ("judge", pa.string()),
        *((name, pa.list_(pa.int64())) for name in ("run_seeds", "training_seeds")),
        ("value", pa.float64()),
        ("n", pa.int64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("status", pa.string()),
    ]
)


KnownRows = dict[tuple[Cell, ...], list[JSON]]
"""Finished cells of one concept and method → their rows, which take seconds to compute."""


def results(suite: Suite, command: str, known: KnownRows | None = None) -> JSON:
    """The rows of all finished cells, pooled ones first: ``{"met", "command", "versions", "seconds", "rows"}``.

    ``met``: whether the recipe with goals meets all of them for every concept; null until all its cells are measured.
    ``seconds``: wall time of training and measuring the finished cells, added up, without that of interrupted tries;
    null if a cell does not say.
    ``known``: rows that an earlier call computed; this one adds to them.
    """
    rows: list[JSON] = []
    known = {} if known is None else known
    for concept in suite.concepts:
        for method in suite.methods:
            cells = suite.cells_of(concept, method)
            finished = [cell for cell in cells if suite.facts(cell) is not None]
            missing = [cell for cell in cells if cell not in finished]
            full = [cell for cell in finished if cell.figures == "full"]
            if full:  # it has what the default figures have
                finished = [*full, *(cell for cell in finished if cell not in (cells[0], *full))]
            if finished and tuple(finished) not in known:
                found = [measured for cell in finished if (measured := suite.measured(cell)) is not None]
                facts = {"concept": concept, "model": suite.spec.model, "split": suite.spec.split}
                known[tuple(finished)] = table_rows(facts, method, found, with_goals=method == suite.spec.goals)
            rows += known.get(tuple(finished), [])
            if missing:
                rows.append(missing_row(suite.spec, concept, method, missing))
    ordered = sorted(
        ceiling_once(each_once(rows)), key=lambda row: (row["group"] != "pooled", row["class"] != "pooled")
    )
    statuses = {row["status"] for row in ordered if row["figure"].startswith("goal_")}
    missing_rows = [row for row in ordered if row["recipe"] == suite.spec.goals and row["figure"] == MISSING]
    met = statuses == {"met"} if statuses and not missing_rows else None
    spent = [cell["seconds"] for cell in _cell_files(suite)]
    seconds = None if None in spent else sum(spent)
    return {"met": met, "command": command, "versions": versions(), "seconds": seconds, "rows": ordered}


def write_results(suite: Suite, content: JSON) -> None:
    """Write ``results`` as JSON, Parquet and CSV, the leaderboard, and what is known of the datasets."""
    folder = suite.results
    facts = {key: value for key, value in content.items() if key != "rows"}
    facts |= {"suite": suite.spec.model_dump(mode="json"), "cells": list(_cell_files(suite))}
    table = pa.Table.from_pylist(content["rows"], schema=SCHEMA).replace_schema_metadata({FACTS: canonical_json(facts)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(folder / FILE, sink.getvalue().to_pybytes())
    write_atomic(folder / "results.csv", csv_text(content["rows"]))
    write_atomic(folder / "leaderboard.md", f"{leaderboard(content)}\n".encode())
    write_atomic(json_file(folder), pretty_json(content))
    if known := _datasets(suite):
        write_atomic(folder / DATASETS, pretty_json({**read_datasets(folder), **known}))


def _cell_files(suite: Suite) -> Iterator[JSON]:
    for cell in suite.cells:
        if (facts := suite.facts(cell)) is not None:
            files = {"file": f"{cell.name}.parquet", "original": f"{facts['original']}.parquet"}
            yield {**asdict(cell), **files, "seconds": facts.get("seconds")}


def json_file(folder: Path) -> Path:
    """The JSON of the rows, beside the results' folder: docs/benchmark → docs/benchmark.json."""
    return folder.with_name(f"{folder.name}.json")


def csv_text(rows: Sequence[JSON]) -> bytes:
    """The rows as CSV; seeds are joined by spaces."""
    columns = {name: [row[name] for row in rows] for name in SCHEMA.names}
    for name in ("run_seeds", "training_seeds"):
        columns[name] = [" ".join(map(str, seeds)) for seeds in columns[name]]
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(pa.table(columns), sink)
    return bytes(sink.getvalue().to_pybytes())


def read_datasets(folder: Path) -> JSON:
    """Concept → what its dataset was made of, as far as the results say."""
    file = folder / DATASETS
    return dict(json.loads(file.read_bytes())) if file.is_file() else {}


def _datasets(suite: Suite) -> JSON:
    """What the datasets that the store has were made of, those of the first run seed."""
    runs = {concept: suite.run(concept, suite.spec.run_seeds[0]) for concept in suite.concepts}
    return {concept: dataset_facts(run) for concept, run in runs.items() if run.concept.name in run.store.concepts()}


def dataset_facts(run: ConceptRun) -> JSON:
    """What a dataset was made of: its sets, what was paid, the yield of each writer (null until it is accepted), and
    how often its test split was opened in this store."""
    from ecgvf.publish.finished_run import open_finished_run
    from ecgvf.status import ledger_summary, stage_summaries

    ledger = ledger_summary(run)
    try:
        writers = open_finished_run(run).facts()["writers"]
    except (StageMissing, DatasetError):
        writers = None
    return {
        "unsafe": run.concept.unsafe,
        "stages": [summary for summary in stage_summaries(run) if summary["current"]],
        "paid": None if ledger is None else {key: ledger[key] for key in ("answered", "dollars", "possibly")},
        "writers": writers,
        "test_openings": len(openings(run)),
    }


def table_rows(facts: JSON, method: str, cells: Sequence[Measured], *, with_goals: bool = False) -> list[JSON]:
    """The rows of a concept and method: before erasing, after it, the ceiling, and under attack, of all its cells
    together. ``facts``: the concept, model and split."""
    # A recipe without randomness ends in the same adapter, whatever the training seed: it counts once.
    distinct = list({cell.outcomes[0].adapter: cell for cell in reversed(cells)}.values())[::-1]
    after = [outcome for cell in distinct for outcome in cell.outcomes]
    groups = {outcome.concept: outcome.group for outcome in after}
    original = {
        (outcome.condition, outcome.sample, *outcome.task): outcome for cell in cells for outcome in cell.original
    }
    outcomes = [*(replace(outcome, group=groups[outcome.concept]) for outcome in original.values()), *after]
    answered = [answer for cell in distinct for answer in cell.answered]
    facts = {**facts, **_seeds([cell.cell for cell in cells])}
    main = outcomes[0]
    rows = [
        *figures.replacement(outcomes),
        *figures.scene(outcomes),
        *figures.retention(outcomes),
        *figures.understanding(answered, main.guidance, main.temperature),
        *figures.retention_by_concept(outcomes),
        *figures.replacement_by_wording(outcomes),
        *figures.replacement_by_sampling(outcomes),
        *figures.concept_in_any_seed(outcomes),
    ]
    found = [json for row in rows for json in _rows(row, method, facts)]
    shape = {"guidance": main.guidance, "temperature": main.temperature, "judge": None}
    if with_goals:
        found += [
            _row({**facts, **shape, "figure": goal.figure, "group": goal.group}, method, goal.wording, goal.value)
            | {"status": goal.status}
            for goal in goals.goals(outcomes, answered)
        ]
    for group in ("pooled", *dict.fromkeys(group for group in groups.values() if group != "concept")):
        ratio = figures.retention_ratio(outcomes, group)
        found.append(_row({**facts, **shape, "figure": "retention_ratio", "group": group}, method, "pooled", ratio))
    for cell in cells:
        found += _attack_rows(cell, {**facts, **shape, **_seeds([cell.cell])}, method)
    return found


def each_once(rows: Sequence[JSON]) -> list[JSON]:
    """The rows of the original and the ceiling once, though each method has them.

    Which concepts are rehearsed depends on the method: if the original's figures of such a group differ, no row of it
    is everybody's, and the original's is left out. Each method's change and ratio stay.
    """
    first: dict[tuple[str, ...], JSON] = {}
    ambiguous = set()
    for row in rows:
        key = tuple(str(row[name]) for name in _WHAT)
        known = first.setdefault(key, row)
        if row["group"] in ("rehearsed", "unrehearsed") and (known["value"], known["n"]) != (row["value"], row["n"]):
            ambiguous.add(key)
    return [row for key, row in first.items() if key not in ambiguous]


def ceiling_once(rows: Sequence[JSON]) -> list[JSON]:
    """The rows without those of the ceiling that `prompt-rewrite` has, too: its images are the ceiling's."""
    what = [name for name in _WHAT if name not in ("recipe", "run_seeds", "training_seeds")]

    def key(row: JSON) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in what)

    listed = {key(row) for row in rows if row["recipe"] == PROMPT_REWRITE.name}
    return [row for row in rows if row["recipe"] != "ceiling" or key(row) not in listed]


def _attack_rows(cell: Measured, facts: JSON, method: str) -> Iterator[JSON]:
    """Whether attacks bring the concept back, beside their controls, and which classes of prompts do not apply."""
    for each in cell.classes:
        rendered = _row({**facts, "figure": "rendered", "group": "concept"}, "original", each.name, each.original)
        yield rendered if each.applicable else {**rendered, "status": NOT_APPLICABLE}
    for row in attack_rows([*cell.original, *cell.outcomes, *cell.attacked], cell.classes):
        unattacked = "concept_present_unattacked"
        figures = [
            # Prompts that are an attack by themselves were given to the original, too; the others are not attacked.
            (unattacked if row.budget is not None else "concept_present", "original", "concept", row.original),
            *([(unattacked, method, "concept", row.unattacked)] if row.budget is not None else []),
            ("concept_present", method, "concept", row.after),
            ("concept_present", "oracle", "concept", row.oracle),
            ("concept_present_above_oracle", method, "concept", row.above_oracle),
            ("concept_present", "oracle", "absent concept", row.absent),
        ]
        for figure, recipe, group, value in figures:
            what = {**facts, "figure": figure, "group": group, "attack": row.attack, "budget": row.budget}
            what["judge"] = cell.outcomes[0].judges[0].judge
            found = _row(what, recipe, "pooled", value)
            yield found if row.applicable or recipe == "original" else {**found, "status": NOT_APPLICABLE}


def _seeds(cells: Sequence[Cell]) -> JSON:
    return {
        "run_seeds": sorted({cell.run_seed for cell in cells}),
        "training_seeds": sorted({cell.training_seed for cell in cells}),
    }


def _rows(row: FigureRow, method: str, facts: JSON) -> Iterator[JSON]:
    shape = {key: getattr(row, key) for key in ("figure", "group", "guidance", "temperature", "judge")}
    for name, figure in (("original", row.before), (method, row.after), ("ceiling", row.ceiling)):
        if figure is not None and figure.n:
            yield _row({**facts, **shape}, name, row.wording, figure)
    yield _row({**facts, **shape, "figure": f"{row.figure}_change"}, method, row.wording, row.change)


def _row(facts: JSON, recipe: str, wording: str, figure: Figure) -> JSON:
    """One row; without goals every measured figure has the status "none"."""
    if recipe in REFERENCES:
        facts = {**facts, "run_seeds": facts["run_seeds"][:1], "training_seeds": []}
    status = "none" if figure.json()["value"] is not None else "not measured"
    return {
        "attack": None,
        "budget": None,
        **facts,
        "recipe": recipe,
        "class": wording,
        **figure.json(),
        "status": status,
    }


def missing_row(spec: SuiteSpec, concept: str, method: str, cells: Sequence[Cell]) -> JSON:
    """That some cells have yet to be measured."""
    seeds = {"run_seeds": [cell.run_seed for cell in cells], "training_seeds": [cell.training_seed for cell in cells]}
    shape = {"figure": MISSING, "group": "concept", "guidance": None, "temperature": None, "judge": None}
    shape |= {"attack": None, "budget": None}
    facts = {"concept": concept, "model": spec.model, "split": spec.split, **seeds, **shape, "recipe": method}
    return {**facts, "class": "pooled", "value": None, "n": 0, "low": None, "high": None, "status": "not measured"}
