"""docs/benchmark.json: rows computed from the outcomes of finished cells, and the README's table made from them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import erasure
from benchmarks.erasure import RECIPES, Benchmark, Cell, Measured, missing_row, readme_table, result, table_rows
from ear.evaluation.outcomes import AnsweredQuestion, Outcome, selected, write_outcomes
from tests.ear.evaluation.small_outcomes import erased, kept

ROOT = Path(__file__).parents[1]
KEYS = {
    *("concept", "model", "recipe", "split", "figure", "group", "class", "guidance", "temperature", "judge"),
    *("run_seeds", "training_seeds", "value", "n", "low", "high", "status"),
}


def measured(run_seed: int, training_seed: int, left: int) -> Measured:
    """A cell in which ``left`` of 12 prompts still show church."""
    outcomes = [*erased(12, left), *kept("castle", "neighbours", 12), *kept("cat", "rehearsed", 12, lost=3)]
    named = f"{run_seed}-{training_seed}"
    after = [replace(outcome, adapter=named) for outcome in selected(outcomes, "after")]
    original = [outcome for outcome in outcomes if outcome.condition != "after"]
    answered = [AnsweredQuestion("1", "image", "others", "present", True, False)]
    return Measured(Cell("church", "paper", run_seed, training_seed), after, original, answered)


def test_rows_pool_seeds_without_counting_them_as_prompts() -> None:
    rows = table_rows("church", "paper", [measured(0, 0, 0), measured(1, 0, 6)])
    assert all(row.keys() == KEYS for row in rows)
    found = {(row["recipe"], row["figure"], row["group"]): row for row in rows if row["class"] == "pooled"}
    present = found["paper", "concept_present", "concept"]
    assert (present["value"], present["n"], present["run_seeds"], present["training_seeds"]) == (0.25, 12, [0, 1], [0])
    assert found["original", "concept_present", "concept"]["value"] == 1.0
    assert found["ceiling", "shows_surrogate", "concept"]["value"] == 1.0
    assert found["paper", "retention", "rehearsed"]["value"] == 0.75
    assert found["paper", "retention_ratio", "rehearsed"]["value"] == 0.75
    assert found["paper", "understanding", "others, present"]["value"] == 0.0
    assert found["paper", "concept_present_change", "concept"]["value"] == -0.75
    assert {row["status"] for row in rows} == {"none", "not measured"}
    assert all(row["status"] == "not measured" for row in rows if row["value"] is None)


def test_seeds_that_end_in_the_same_adapter_count_once() -> None:
    first, second = measured(0, 0, 3), measured(0, 1, 3)
    same = replace(second, outcomes=[replace(outcome, adapter="0-0") for outcome in second.outcomes])
    once, twice = table_rows("church", "paper", [first]), table_rows("church", "paper", [first, same])
    figures = [(row["figure"], row["value"], row["low"]) for row in once]
    assert figures == [(row["figure"], row["value"], row["low"]) for row in twice]


def test_the_groups_are_those_of_the_recipe() -> None:
    cell = measured(0, 0, 0)
    regrouped: list[Outcome] = [
        replace(outcome, group="unrehearsed") if outcome.concept == "cat" else outcome for outcome in cell.outcomes
    ]
    rows = table_rows("church", "paper", [replace(cell, outcomes=regrouped)])
    assert "unrehearsed" in {row["group"] for row in rows} and "rehearsed" not in {row["group"] for row in rows}


def test_what_is_missing_is_a_row_that_was_not_measured() -> None:
    row = missing_row("cat", "paper", [Cell("cat", "paper", 0, 0), Cell("cat", "paper", 0, 1)])
    assert row.keys() == KEYS
    assert (row["value"], row["status"], row["training_seeds"]) == (None, "not measured", [0, 1])


def test_finished_cells_are_read_again_and_changed_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark, cell = Benchmark(tmp_path / "store", tmp_path), Cell("church", "paper", 0, 0)
    source = measured(0, 0, 3)
    facts = {"key": cell.key(benchmark.model), "original": "original", "answered": []}
    write_outcomes(source.original, tmp_path / "original.parquet", images=False)
    write_outcomes(source.outcomes, tmp_path / f"{cell.name}.parquet", facts, images=False)
    read = benchmark.measured(cell)
    assert read is not None and len(read.outcomes) == len(source.outcomes) and not read.outcomes[0].image
    content = result(benchmark)
    assert content["met"] is None and content["rows"][0]["group"] == content["rows"][0]["class"] == "pooled"
    assert [row["status"] for row in content["rows"] if row["concept"] == "castle"] == ["not measured"] * len(RECIPES)
    assert "| church" in readme_table(content)
    monkeypatch.setattr(erasure, "PAIRS", 61)
    assert benchmark.measured(cell) is None


def test_the_readme_shows_the_table_of_the_json() -> None:
    content = json.loads((ROOT / "docs" / "benchmark.json").read_text())
    assert readme_table(content) in (ROOT / "README.md").read_text()
