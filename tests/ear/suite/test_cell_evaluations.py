"""``ear compare`` of a suite's cells, from the files that a clone has."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ear.cli import app
from ear.evaluation.not_measured import NotMeasured
from ear.suite import CellResult, write_known_results
from ecgvf.publish.push_results import FILE
from tests.ear.evaluation.small_outcomes import erased, evaluation
from tests.ear.suite.small_suite import cell_result, keep, small_suite

BENCHMARK = Path(__file__).parents[3] / "docs" / "benchmark"
CELLS = ("results/church-paper-r0-t0.parquet", "results/church-esd-r0-t0.parquet")


def compare(*words: str, code: int = 0) -> tuple[str, str]:
    """What it prints, and its messages."""
    result = CliRunner().invoke(app, ["compare", *words])
    assert result.exit_code == code and "Traceback" not in result.output, result.output
    return result.stdout, " ".join(result.stderr.split())


def in_folder(folder: Path, change: Callable[[CellResult], CellResult] = lambda found: found) -> None:
    """A suite of `paper`, with 3 churches left, and `esd`, with 1 and of fewer prompts of cat, in ``folder``."""
    suite = small_suite(folder, concepts=("church",), recipes=("paper", "esd"))
    keep(suite, cell_result(0, 0, 3), not_measured=["unrehearsed: dog, cow (no reason)"])
    second = cell_result(0, 0, 1, "esd")
    fewer = [each for each in second.outcomes if each.concept != "cat" or int(each.id.rpartition("/")[2]) < 8]
    keep(suite, change(replace(second, outcomes=fewer)))
    write_known_results(suite, "ear suite small.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_cells_are_compared_on_the_prompts_that_all_have(folder: Path) -> None:
    in_folder(folder)
    shown, notes = compare(*CELLS)
    assert "church erased from janus-nano" in shown and "Contact sheet: none" in shown
    assert "at least" in shown and "Not measured: unrehearsed: dog, cow (no reason)" in " ".join(shown.split())
    assert "4 prompts of retained concepts left out" in notes
    found = json.loads(compare(*CELLS, "--json")[0])
    first, second = found["evaluations"]
    assert (first["recipe"], second["recipe"], first["model"], first["split"]) == ("paper", "esd", "janus-nano", "test")
    assert first["not_measured"] == [{"group": "unrehearsed", "reason": "no reason", "concepts": ["dog", "cow"]}]
    assert {row["concept"]: row["after"]["n"] for row in first["retention"]} == {"castle": 12, "cat": 8}
    changed = {(row["figure"], row["group"]): row["difference"] for row in found["differences"][0]["figures"]}
    assert changed["concept_present", "concept"]["value"] == pytest.approx(-2 / 12)
    assert (changed["retention", "pooled"]["value"], changed["retention", "pooled"]["n"]) == (0, 20)


def test_differences_of_the_shipped_cells_are_those_of_the_shipped_table() -> None:
    cells = [str(BENCHMARK / f"church-{recipe}-r0-t0.parquet") for recipe in ("on-policy", "paper")]
    [found] = json.loads(compare(*cells, "--json")[0])["differences"]
    facts = ("figure", "group", "guidance")
    changed = {tuple(row[name] for name in facts): row["difference"] for row in found["figures"] if "class" not in row}
    rows = [
        row
        for row in pq.read_table(BENCHMARK / FILE).to_pylist()
        if (row["concept"], row["recipe"]) == ("church", "paper") and row["figure"].endswith("_difference")
    ]
    assert len(rows) > 40
    for row in rows:
        key = (row["figure"].removesuffix("_difference"), row["group"], row["guidance"])
        assert changed[key] == {name: row[name] for name in ("value", "n", "low", "high")}, key


def other_prompts(found: CellResult) -> CellResult:
    after = [replace(each, id=f"other-{each.id}") for each in found.outcomes]
    return replace(found, outcomes=after, original=[replace(each, id=f"other-{each.id}") for each in found.original])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("elsewhere/results/church-esd-r0-t0.parquet", "is not in the folder of results/church-paper-r0-t0.parquet"),
        ("results/church-esd-r9-t9.parquet", "is not a cell of results/results.parquet: run `ear suite` again"),
        ("evaluation.parquet", "is a cell of a suite, not a file of `ear eval --outcomes`"),
        ("results/church-original-esd-default.parquet", "is a cell of a suite, not a file of `ear eval --outcomes`"),
        ("paper-1a2b3c4d-s0", "is not a file of outcomes: compare either such files or adapters"),
    ],
)
def test_what_cannot_be_compared_is_one_line(folder: Path, second: str, message: str) -> None:
    in_folder(folder)
    in_folder(folder / "elsewhere")
    (folder / "results" / "church-esd-r9-t9.parquet").write_bytes((folder / CELLS[1]).read_bytes())
    evaluation(erased(12)).save(folder / "evaluation.parquet")
    assert message in compare(CELLS[0], second, code=2)[1]


def test_cells_of_other_prompts_of_the_concept_are_refused(folder: Path) -> None:
    in_folder(folder, other_prompts)
    assert "has outcomes of other prompts or seeds" in compare(*CELLS, code=2)[1]


def test_cells_in_another_dtype_are_refused(folder: Path) -> None:
    suite = small_suite(folder, concepts=("church",), recipes=("paper", "esd"))
    keep(suite, cell_result(0, 0, 3), dtype="float32")
    keep(suite, cell_result(0, 0, 1, "esd"), dtype="bfloat16")
    write_known_results(suite, "ear suite small.yaml")
    assert "church-esd-r0-t0 was measured in bfloat16, church-paper-r0-t0 in float32" in compare(*CELLS, code=2)[1]


def test_a_cell_needs_the_outcomes_before_erasing_and_the_suites_table(folder: Path) -> None:
    in_folder(folder)
    (folder / "results" / "church-original-esd-default.parquet").unlink()
    assert "needs results/church-original-esd-default.parquet" in compare(*CELLS, code=2)[1]
    (folder / "results" / FILE).unlink()
    assert "results has no results.parquet" in compare(*CELLS, code=2)[1]


@pytest.mark.parametrize("concepts", [(), ("cat",), ("cat", "van-gogh"), tuple("abcdefghi")])
def test_what_was_not_measured_is_read_from_its_text(concepts: tuple[str, ...]) -> None:
    left = NotMeasured("neighbours", "not of family x (a reason)", concepts)
    read = NotMeasured.from_text(str(left))
    assert str(read) == str(left) and (read.group, read.reason) == (left.group, left.reason)
