"""The table of a suite (``rows``), and the files that hold it.

RESULTS.json            {"met", "command", "versions", "seconds", "test_openings", "rows", "by_seed"}
RESULTS/results.parquet, results.csv   the same rows
RESULTS/leaderboard.md  methods as rows, figures as columns; below, each adapter of methods with several seeds
RESULTS/datasets.json   what the datasets were made of: yield, reasons for rejection, cost
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa

from ear.suite.cells import Cell
from ear.suite.count_openings import count_openings
from ear.suite.leaderboard import MISSING, by_seed, leaderboard
from ear.suite.rows import (
    difference_rows,
    drop_repeated_ceiling,
    drop_repeated_references,
    missing_row,
    seed_rows,
    table_rows,
)
from ear.suite.suite import Suite, same_dataset
from ear.tables import csv_bytes, write_parquet
from ecgvf.core import console
from ecgvf.core.errors import DatasetError, StageMissing
from ecgvf.core.files import JSON, canonical_json, pretty_json, write_atomic
from ecgvf.core.run import ConceptRun
from ecgvf.publish.push_results import FACTS, FILE

DATASETS = "datasets.json"

SCHEMA = pa.schema(
    [
        *(
            (name, pa.string())
            for name in ("concept", "model", "recipe", "split", "figure", "group", "class", "attack")
        ),
        *((name, pa.int64()) for name in ("budget", "phrases")),
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


KnownRows = dict[tuple[str, tuple[Cell, ...]], list[JSON]]
""""pooled" or "by seed", and finished cells of a concept and method → their rows, which take seconds to compute."""


def results(suite: Suite, command: str, known: KnownRows | None = None) -> JSON:
    """The rows of all finished cells, pooled ones first, and facts about them.

    ``{"met", "command", "versions", "seconds", "test_openings", "rows", "by_seed"}``

    ``met``: whether the recipe with goals meets all of them for every concept; null until all its cells are measured.
    ``versions``: the distinct versions of packages that measured the finished cells, and how many each:
    ``[{"cells", "versions"}]``; null for cells of an earlier version, which do not say.
    ``test_openings``: ``count_openings``.
    ``seconds``: wall time of training and measuring the finished cells, added up, without that of interrupted tries.
    ``by_seed``: for methods with several seeds, rows like those of ``rows`` of each adapter by itself, of the
    leaderboard's columns.
    ``known``: rows that earlier calls computed; this call adds to them.
    """
    known = {} if known is None else known
    finished = _finished_facts(suite)
    rows = [
        row
        for concept in suite.concepts
        for method in suite.methods
        for row in _rows(suite, concept, method, finished, known)
    ]
    ordered = sorted(
        drop_repeated_ceiling(drop_repeated_references(rows)),
        key=lambda row: (row["group"] != "pooled", row["class"] != "pooled"),
    )
    by_seed = [
        row
        for concept in suite.concepts
        for method in suite.methods
        for row in _rows_by_seed(suite, concept, method, finished, known)
    ]
    statuses = {row["status"] for row in ordered if row["figure"].startswith("goal_")}
    missing_rows = [row for row in ordered if row["recipe"] == suite.spec.goals and row["figure"] == MISSING]
    met = statuses == {"met"} if statuses and not missing_rows else None
    return {
        "met": met,
        "command": command,
        "versions": _versions(finished.values()),
        "seconds": sum(facts["seconds"] for facts in finished.values()),
        "test_openings": count_openings(suite),
        "rows": [_in_order(row) for row in ordered],
        "by_seed": [_in_order(row) for row in by_seed],
    }


def _in_order(row: JSON) -> JSON:
    return {name: row[name] for name in SCHEMA.names}


def _finished_facts(suite: Suite) -> dict[Cell, JSON]:
    """The finished cells, in their order, with their facts (``Suite.facts``), which takes two keys per cell."""
    return {cell: facts for cell in suite.cells if (facts := suite.facts(cell)) is not None}


def _versions(finished: Iterable[JSON]) -> list[JSON]:
    known = [facts.get("versions") for facts in finished]
    distinct = [each for index, each in enumerate(known) if each not in known[:index]]
    return [{"cells": known.count(each), "versions": each} for each in distinct]


def _rows(suite: Suite, concept: str, method: str, measured: Collection[Cell], known: KnownRows) -> list[JSON]:
    """The rows of the finished cells of a concept and method, and a row of those that are missing.

    ``measured``: the suite's finished cells.
    """
    cells = suite.cells_of(concept, method)
    finished = _finished(cells, measured)
    missing = [cell for cell in cells if cell not in measured]
    reference = suite.spec.reference
    compared = _finished(suite.cells_of(concept, reference), measured)[:1] if method != reference else []
    key = ("pooled", (*finished, *compared))
    if finished and key not in known:
        cell_results = [result for cell in finished if (result := suite.cell_result(cell)) is not None]
        facts = {"concept": concept, "model": suite.spec.model, "split": suite.spec.split}
        known[key] = table_rows(facts, method, cell_results, with_goals=method == suite.spec.goals)
        for cell in compared:
            if cell.seeds == finished[0].seeds and (first := suite.cell_result(cell)) is not None:
                known[key] += difference_rows(facts, method, first, cell_results[0])
    unmeasured = [missing_row(suite.spec, concept, method, missing)] if missing else []
    return [*(known[key] if finished else []), *unmeasured]


def _rows_by_seed(suite: Suite, concept: str, method: str, measured: Collection[Cell], known: KnownRows) -> list[JSON]:
    """The rows of each adapter of a concept and method, if there are several. ``measured``: as above."""
    cells = [cell for cell in suite.cells_of(concept, method) if cell in measured]
    cells = [cell for cell in cells if cell.figures == cells[0].figures]  # the full figures are of the first adapter
    if len(cells) < 2:
        return []
    facts = {"concept": concept, "model": suite.spec.model, "split": suite.spec.split}
    for cell in cells:
        if ("by seed", (cell,)) not in known and (result := suite.cell_result(cell)) is not None:
            known["by seed", (cell,)] = seed_rows(facts, method, result)
    return [row for cell in cells for row in known["by seed", (cell,)]]


def _finished(cells: Sequence[Cell], measured: Collection[Cell]) -> list[Cell]:
    """Those of a concept's and method's ``cells`` that are ``measured``; the full figures replace those of the first
    cell, which they have."""
    finished = [cell for cell in cells if cell in measured]
    if full := [cell for cell in finished if cell.figures == "full"]:
        return [*full, *(cell for cell in finished if cell not in (cells[0], *full))]
    return finished


def write_results(suite: Suite, content: JSON) -> None:
    """Write ``results`` as JSON, Parquet and CSV, the leaderboard, and what is known of the datasets.

    The facts in the Parquet file: all of ``results`` but the rows, the suite's declaration with the store that is used,
    and the cells that are measured with their files, seconds and what was not measured of them.
    """
    folder = suite.results
    facts = {key: value for key, value in content.items() if key not in ("rows", "by_seed")}
    declared = suite.spec.model_dump(mode="json") | {"store": str(suite.store)}
    facts |= {"suite": declared, "cells": list(_cell_files(suite))}
    table = pa.Table.from_pylist(content["rows"], schema=SCHEMA).replace_schema_metadata({FACTS: canonical_json(facts)})
    write_parquet(table, folder / FILE)
    write_atomic(folder / "results.csv", csv_text(content["rows"]))
    write_atomic(folder / "leaderboard.md", f"{leaderboard(content)}\n{by_seed(content)}".encode())
    write_atomic(json_file(folder), pretty_json(content))
    if known := _datasets(suite):
        write_atomic(folder / DATASETS, pretty_json({**read_datasets(folder), **known}))


def copy_finished(suite: Suite, folder: Path) -> None:
    """Copy the finished cells in ``folder`` that the suite's results lack, and what is known of their datasets; none of
    another dataset than the results have."""
    other = replace(suite, results=folder)
    finished = _finished_facts(suite)
    own = {facts["original"] for facts in finished.values()}
    copied = 0
    for cell in suite.cells:
        if cell in finished or (facts := other.facts(cell)) is None:
            continue
        if all(same_dataset(facts, known) for mine, known in finished.items() if mine.concept == cell.concept):
            for name in (facts["original"], cell.name):
                if name not in own:
                    write_atomic(suite.file(name), other.file(name).read_bytes())
            copied += 1
    if copied:
        console.note(f"{console.counted(copied, 'finished cell')} copied from {folder}")
    if copied and (known := read_datasets(folder)):
        write_atomic(suite.results / DATASETS, pretty_json({**known, **read_datasets(suite.results)}))


def _cell_files(suite: Suite) -> Iterator[JSON]:
    for cell, facts in _finished_facts(suite).items():
        files = {"file": f"{cell.name}.parquet", "original": f"{facts['original']}.parquet"}
        kept = {name: facts.get(name) for name in ("seconds", "not_measured")}
        yield {**asdict(cell), **files, **kept}


def json_file(folder: Path) -> Path:
    """The file of ``results`` as JSON, beside the folder: docs/benchmark → docs/benchmark.json."""
    folder = folder.resolve()  # "." has no name
    return folder.with_name(f"{folder.name}.json")


def csv_text(rows: Sequence[JSON]) -> bytes:
    """The rows as CSV."""
    return csv_bytes(pa.table({name: [row[name] for row in rows] for name in SCHEMA.names}))


def read_datasets(folder: Path) -> JSON:
    """Concept → ``dataset_facts``, as far as they are in the results' ``folder``.

    Raises ``DatasetError`` for a file that is not what ``write_results`` wrote.
    """
    file = folder / DATASETS
    try:
        return dict(json.loads(file.read_bytes())) if file.is_file() else {}
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{file} is not what `ear suite` writes: restore it, or delete it") from error


def _datasets(suite: Suite) -> JSON:
    """Concept → ``dataset_facts`` of the datasets in the store, for the first run seed."""
    runs = {concept: suite.run(concept, suite.spec.run_seeds[0]) for concept in suite.concepts}
    return {concept: dataset_facts(run) for concept, run in runs.items() if run.concept.name in run.store.concepts()}


def dataset_facts(run: ConceptRun, set_id: str | None = None) -> JSON:
    """What a dataset was made of: its sets, what was paid, and the yield of each writer (null until it is accepted).

    ``set_id`` is its acceptance set's fingerprint; None: the current one's. With it, raises ``StageMissing`` for a set
    that the store does not have, and ``DatasetError`` for a damaged one.
    """
    from ecgvf.publish.finished_run import open_finished_run
    from ecgvf.status import ledger_summary, stage_summaries

    ledger = ledger_summary(run)
    try:
        finished = open_finished_run(run, set_id).facts()
    except (StageMissing, DatasetError):
        if set_id is not None:
            raise
        finished = None
    summaries = stage_summaries(run)
    current = [summary["set"] for summary in summaries if summary["current"]]
    sets = current if finished is None else finished["sets"].values()
    return {
        "unsafe": run.concept.unsafe,
        "stages": [summary for summary in summaries if summary["set"] in sets],
        "paid": None if ledger is None else {key: ledger[key] for key in ("answered", "dollars", "possibly")},
        "writers": None if finished is None else finished["writers"],
    }
