"""Running a suite: what is finished stays, what fails is named, and a kill changes nothing."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from ear.cli import app
from ear.commands.suite import SuiteArguments
from ear.evaluation.outcomes import read_outcomes, write_outcomes
from ear.suite import Cell, CellResult, Suite, read_spec, results, run_suite, runner, write_known_results
from ear.suite.last_results import last_results, remember
from ear.suite.runner import log_file, measure_in_process
from ear.suite.table import json_file
from ecgvf.core.errors import DatasetError, EcgvfError, JudgeError, SettingsError, StoreError
from tests.ear.conftest import AgreeingJudge
from tests.ear.evaluation.small_outcomes import evaluation
from tests.ear.suite.conftest import FORK
from tests.ear.suite.small_suite import cell_result, keep, small_suite

SMALL = """
name: small
concepts: [church]
recipes: [prompt-rewrite, paper]
pairs: 4
tests: 2
split: validation
prompts: {concept: 2, group: 1, neighbour: 1, family: plant}
figures: default
"""


def test_a_failed_cell_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, recipes=("paper", "prompt-rewrite"))

    def measure(suite: Suite, cell: Cell) -> str | None:
        if cell.recipe == "paper":
            return "no judge"
        keep(suite, cell_result(0, 0, 0, "prompt-rewrite"))
        return None

    content, failed = run_suite(suite, "ear suite", measure_cell=measure)
    assert {cell.name: reason for cell, reason in failed.items()} == {
        "church-paper-r0-t0": "no judge",
        "castle-paper-r0-t0": "no judge",
    }
    assert ("church", "prompt-rewrite") in {(row["concept"], row["recipe"]) for row in content["rows"]}
    assert (suite.results / "leaderboard.md").is_file()


def test_finished_cells_are_not_measured_again(tmp_path: Path) -> None:
    suite, asked = small_suite(tmp_path), []
    keep(suite, cell_result(0, 0, 0))

    def measure(suite: Suite, cell: Cell) -> str | None:
        asked.append(cell.name)
        return "not now"

    run_suite(suite, "ear suite", measure_cell=measure)
    assert asked == ["castle-paper-r0-t0"]


def test_one_process_at_a_time_measures_for_a_folder_of_results(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)

    def measure(suite: Suite, cell: Cell) -> str | None:
        with pytest.raises(StoreError, match=r"another `ear suite` measures for .*results: wait for it"):
            run_suite(suite, "second", measure_cell=lambda *_: pytest.fail("measured twice"))
        write_known_results(suite, "dry run")
        assert json.loads(json_file(suite.results).read_bytes())["command"] == "first"
        return "not now"

    run_suite(suite, "first", suite.cells[:1], measure)
    write_known_results(suite, "dry run")
    assert json.loads(json_file(suite.results).read_bytes())["command"] == "dry run"


@pytest.mark.faults
def test_a_cell_whose_original_model_was_measured_with_other_settings_since_is_measured_again(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    source = cell_result(0, 0, 0)
    keep(suite, source)
    original = suite.file(str((suite.facts(source.cell) or {})["original"]))
    # A suite of other settings was killed after this file, and before the cell's own.
    changed = small_suite(tmp_path, tests=8)
    write_outcomes(source.original[1:], original, {"key": changed.original_key(source.cell)}, images=False)
    assert suite.facts(source.cell) is None
    original.unlink()
    assert suite.facts(source.cell) is None


def test_a_cell_of_another_dataset_than_the_finished_cells_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = small_suite(tmp_path, run_seeds=(0, 1, 2))
    monkeypatch.setattr("ear.suite.suite.load", lambda _: None)
    monkeypatch.setattr("ear.suite.suite.erase", lambda *_, **__: [SimpleNamespace(adapter=tmp_path / "adapter")])

    def measure(result: CellResult, dataset: str) -> None:
        found = evaluation([*result.original, *result.outcomes])
        monkeypatch.setattr(Suite, "dataset", lambda *_: SimpleNamespace(fingerprint=dataset))
        origin = {**found.origin, "dataset": dataset}
        monkeypatch.setattr("ear.suite.suite.evaluate", lambda *_: replace(found, origin=origin))
        assert result.cell is not None
        suite.measure(result.cell)

    first, second, third = (cell_result(run_seed, 0, 3) for run_seed in range(3))
    keep(suite, first)  # a cell of an earlier version, which does not name its dataset
    measure(second, "before the review")
    reviewed = replace(third, original=third.original[3:], outcomes=third.outcomes[1:])  # without a prompt
    with pytest.raises(DatasetError, match=r"church has changed, .* measured: church-paper-r1-t0\. Undo"):
        measure(reviewed, "after it")
    assert [each.run_seed for each in suite.missing(suite.cells) if each.concept == "church"] == [2]
    assert {row["recipe"] for row in results(suite, "")["rows"] if row["value"] is not None} >= {"original", "paper"}
    suite.file("church-paper-r1-t0").unlink()
    measure(reviewed, "after it")


def test_a_cell_whose_original_model_was_measured_on_another_dataset_since_is_measured_again(tmp_path: Path) -> None:
    suite, source = small_suite(tmp_path), cell_result(0, 0, 0)
    keep(suite, source, dataset="before the review")
    original = suite.file("church-original-paper-default")

    def original_of(**dataset: str) -> None:
        facts = {"key": suite.original_key(suite.cells[0]), **dataset}
        write_outcomes(source.original, original, facts, images=False)

    assert suite.facts(suite.cells[0]) is not None
    original_of(dataset="after it")
    assert suite.facts(suite.cells[0]) is None
    original_of(dataset="before the review")
    assert suite.facts(suite.cells[0]) is not None


def test_some_cells_are_measured_and_the_table_is_of_the_whole_suite(tmp_path: Path) -> None:
    suite, asked = small_suite(tmp_path, recipes=("paper", "default")), []
    keep(suite, cell_result(0, 0, 0))

    def measure(suite: Suite, cell: Cell) -> str | None:
        asked.append(cell.name)
        return "not now"

    content, _ = run_suite(suite, "ear suite", suite.cells_among(["castle"], ["default"]), measure)
    assert asked == ["castle-on-policy-r0-t0"]
    assert {(row["concept"], row["recipe"]) for row in content["rows"]} >= {("church", "paper"), ("castle", "paper")}
    with pytest.raises(SettingsError, match="--concepts cat: the suite has church, castle"):
        suite.cells_among(["cat"], None)
    with pytest.raises(SettingsError, match="--recipes esd: the suite has"):
        suite.cells_among(None, ["esd"])


def test_a_suite_of_a_file_has_the_model_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text("concepts: [church]\n")
    found = CliRunner().invoke(app, ["suite", str(file), "--model", "janus-pro-1b"])
    assert found.exit_code == 2 and "leave one of the two out" in found.stderr.replace("\n", " ")


def test_the_command_that_reproduces_the_table_names_its_folders(tmp_path: Path) -> None:
    folders = {"store": Path("s"), "out": Path("my results")}
    with_file = SuiteArguments(declaration=Path("small.yaml"), concepts="church", submit=["mine=images"], **folders)
    chosen = "--concepts church --submit mine=images"
    assert with_file.command() == f"ear suite small.yaml {chosen} --store s --out 'my results'"
    assert SuiteArguments(declaration=Path("small.yaml"), recipes="paper").command() == "ear suite small.yaml"
    assert SuiteArguments(concepts="church", out=Path("r")).command() == "ear suite --concepts church --out r"


def test_each_model_of_options_has_folders_of_its_own(tmp_path: Path) -> None:
    folders = [tmp_path / parent / "merged" for parent in "ab"]
    for folder in folders:
        folder.mkdir(parents=True)
    models = ["janus-pro-1b", "mine/janus", "yours/janus", *map(str, folders)]
    names = [SuiteArguments(concepts="church", model=model).spec().name for model in models]
    assert names[:3] == ["janus-pro-1b", "mine-janus", "yours-janus"] and len(set(names)) == 5
    assert all(name.startswith("merged-") for name in names[3:])


def test_a_submission_to_a_declared_suite_is_measured_alone_beside_its_finished_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(declare(tmp_path))
    declared = Suite(read_spec(Path("small.yaml")), Path("suites/small/store"), Path("suites/small/results"))
    keep(declared, cell_result(0, 0, 3))
    asked = []

    def measure(suite: Suite, cell: Cell) -> str | None:
        asked.append(cell.recipe)
        return "not now"

    monkeypatch.setattr(runner, "measure_in_process", measure)
    Path("images").mkdir()
    submit = ["suite", "small.yaml", "--submit", "mine=images", "--out", "with-mine"]
    found = CliRunner().invoke(app, submit)
    assert asked == ["mine"] and "| church    | paper" in found.stdout, found.output
    CliRunner().invoke(app, [*submit, "--recipes", "prompt-rewrite"])
    assert asked == ["mine", "prompt-rewrite", "mine"]


def test_goals_that_are_missed_are_named_before_the_command_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(declare(tmp_path))
    declared = SMALL.replace("prompt-rewrite, paper", "paper").replace("figures: default", "figures: full")
    Path("small.yaml").write_text(declared + "goals: paper\n")
    suite = Suite(read_spec(Path("small.yaml")), Path("suites/small/store"), Path("suites/small/results"))
    for cell in suite.cells:
        keep(suite, replace(cell_result(0, 0, 3), cell=cell))
    found = CliRunner().invoke(app, ["suite", "small.yaml", "--dry-run"])
    [line] = [line for line in found.stderr.splitlines() if "goals" in line]
    assert found.exit_code == 1 and "paper does not meet its goals: missed: church " in line
    assert "not measured: church understanding_ratio" in line


def test_a_model_a_writer_or_a_judge_that_is_not_there_is_found_before_anything_is_paid(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = small_suite(tmp_path / "a", model=str(tmp_path / "none"))
    with pytest.raises(EcgvfError, match="none"):
        absent.check(absent.cells)
    absent.check([])
    write_known_results(absent, "ear suite")  # which cells are missing is known without the model
    keyless = small_suite(tmp_path / "b", writers="gpt")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EcgvfError, match="no key for"):
        keyless.check(keyless.cells)
    painters = {"concepts": ("van-gogh",), "model": str(tiny_path), "writers": "offline"}
    for weights, message in (({}, "judge style needs .* its field weights"), ({"style": "none"}, "cannot load .*none")):
        unjudged = small_suite(tmp_path / "c", **painters, weights=weights)
        with pytest.raises(JudgeError, match=message):
            unjudged.check(unjudged.cells)
    (noise := tmp_path / "noise.pth").write_bytes(b"noise")
    unreadable = small_suite(tmp_path / "d", model=str(tiny_path), writers="offline", weights={"resnet50": str(noise)})
    with pytest.raises(JudgeError, match="cannot read the weights in"):
        unreadable.check(unreadable.cells)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"questions": "none.parquet"}, "cannot read questions from none.parquet"),
        ({"oracles": {"church": "no-such-folder"}}, "oracle no-such-folder: there is no such folder"),
        ({"prompts": {"family": "bilding"}}, "prompts.family: no retained concept of church is of family 'bilding'"),
        ({"prompts": {"family": "style"}}, "no retained concept of church is of family 'style'"),
    ],
)
def test_what_the_full_figures_and_the_prompts_need_is_found_before_anything_is_paid(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    suite = small_suite(tmp_path, figures="full", **fields)
    with pytest.raises(EcgvfError, match=message):
        suite.check(suite.cells)
    small_suite(tmp_path, figures="full", prompts={"family": "building"}).check(suite.cells)


def test_only_cells_that_need_the_oracle_and_the_questions_ask_for_them(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, figures="full", oracles={"church": "no-such-folder"}, questions="none.parquet")
    suite.check([cell for cell in suite.cells if cell.recipe == "paper" and cell.figures == "default"])


def test_the_judge_of_retained_concepts_is_found_before_anything_is_paid(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreeing = AgreeingJudge()  # of the concept, whose weights are elsewhere
    monkeypatch.setattr("ear.suite.suite.open_judge", lambda *_: agreeing)
    fields = {"concepts": ("van-gogh",), "model": str(tiny_path), "writers": "offline"}
    suite = small_suite(tmp_path, **fields, weights={"style": "DIR", "resnet50": "typo.pth"})
    with pytest.raises(JudgeError, match=r"typo\.pth"):
        suite.check(suite.cells)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["small.yaml", "--concepts", "cat"], "--concepts cat: the suite has church"),
        (["--concepts", "church", "--model", "none"], "none"),
    ],
)
def test_a_suite_that_cannot_run_leaves_the_last_results_to_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(declare(tmp_path))
    monkeypatch.setattr(runner, "measure_in_process", lambda *_: pytest.fail("measured"))
    remember(Path("earlier"))
    found = CliRunner().invoke(app, ["suite", *words])
    assert found.exit_code == 2 and message in " ".join(found.stderr.split())
    assert last_results() == Path("earlier")


def test_a_dry_run_lists_the_missing_cells_that_were_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(declare(tmp_path))
    words = ["suite", "small.yaml", "--dry-run", "--recipes", "paper"]
    assert "Not measured: church paper (1 cell).\n" in CliRunner().invoke(app, words).stdout
    results = Path("suites/small/results")
    assert not Path("suites").exists()
    names = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["missing"]
    assert names == ["church-paper-r0-t0"]
    keep(Suite(read_spec(Path("small.yaml")), Path("suites/small/store"), results), cell_result(0, 0, 3))
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["missing"] == []
    assert "church prompt-rewrite (1 cell)" in (results / "leaderboard.md").read_text()


def test_a_cell_that_takes_too_long_has_failed(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, timeout_minutes=0.001)
    assert measure_in_process(suite, suite.cells[0]) == "timed out after 0.001 minutes"


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("end", "code"), [(lambda: os._exit(9), 9), (lambda: os.kill(os.getpid(), signal.SIGKILL), -9)]
)
def test_a_cell_whose_process_dies_has_failed_and_its_log_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[], None], code: int
) -> None:
    def measure(suite: Suite, cell: Cell) -> None:
        os.write(2, b"rendering\n")
        end()

    monkeypatch.setattr(Suite, "measure", measure)
    monkeypatch.setattr(runner, "get_context", lambda _: FORK)
    suite = small_suite(tmp_path)
    log = log_file(suite, suite.cells[0])
    assert measure_in_process(suite, suite.cells[0]) == f"its process ended with exit code {code}, see {log}"
    assert log.read_text() == "rendering\n"


def test_a_suite_whose_cells_fail_exits_1_and_names_each_with_the_line_of_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(suite: Suite, cell: Cell) -> None:
        raise JudgeError("no pair\nwas accepted")

    monkeypatch.setattr(Suite, "measure", measure)
    monkeypatch.setattr(runner, "get_context", lambda _: FORK)
    file = tmp_path / "suite.yaml"
    file.write_text("concepts: [church]\nrecipes: [paper]\nfigures: default\n")
    found = CliRunner().invoke(app, ["suite", str(file), "--store", str(tmp_path / "s"), "--out", str(tmp_path / "r")])
    assert found.exit_code == 1
    [line] = [line for line in found.stderr.splitlines() if "church-paper-r0-t0 failed" in line]
    assert line.endswith("no pair was accepted")
    assert "Not measured: church paper (1 cell)." in found.stdout


def test_a_concept_that_no_judge_knows_is_an_error_before_anything_is_made(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text("concepts: [church, tench]\nrecipes: [paper]\nfigures: default\n")
    found = CliRunner().invoke(app, ["suite", str(file), "--store", str(tmp_path / "s"), "--out", str(tmp_path / "r")])
    assert found.exit_code == 2 and "judge nano-object-a has no labels for 'tench'" in found.stderr
    assert not (tmp_path / "s").exists()


def declare(folder: Path, more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "small.yaml").write_text(SMALL + more)
    return folder


def finish_in_process(folder: Path) -> None:
    """Run the suite to its end, with every cell in this process."""
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "measure_in_process", lambda suite, cell: suite.measure(cell))
        found = CliRunner().invoke(app, ["suite", "small.yaml"])
    assert found.exit_code == 0, found.output


def suite_alone(folder: Path) -> None:
    """The whole of a child: the command as a user types it, each cell in a process of its own."""
    os.chdir(folder)
    CliRunner().invoke(app, ["suite", "small.yaml"])


def kill_when(folder: Path, pattern: str) -> None:
    """Start the suite, and kill it as soon as a file that matches ``pattern`` exists."""
    process = FORK.Process(target=suite_alone, args=(folder,))
    process.start()
    deadline = time.monotonic() + 300
    while not list(folder.glob(pattern)):
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    cells = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.join()
    assert not psutil.wait_procs(cells, timeout=60)[1]  # a cell that still ends has the store's lock


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("nano_judges")
def test_a_suite_that_is_killed_twice_ends_with_the_same_table(tmp_path: Path, tiny_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        declare(folder, f"model: {tiny_path}\nwriters: offline\n")
    kill_when(killed, "suites/small/store/run-0/church/evaluation/*/settings.json")
    kill_when(killed, "suites/small/results/church-prompt-rewrite-r0-t0.parquet")
    assert not list(killed.glob("suites/small/results/church-paper-r0-t0.parquet"))
    for folder in (killed, undisturbed):
        finish_in_process(folder)
    for name in ("results.csv", "leaderboard.md"):
        first, second = (
            (folder / "suites" / "small" / "results" / name).read_bytes() for folder in (undisturbed, killed)
        )
        assert first == second
    contents = [
        json.loads((folder / "suites" / "small" / "results.json").read_bytes()) for folder in (undisturbed, killed)
    ]
    for content in contents:
        del content["seconds"]
    assert contents[0] == contents[1]
    cells = list((undisturbed / "suites" / "small" / "results").glob("church-*.parquet"))
    assert len(cells) == 4  # of each recipe, its own and the original's
    for file in cells:
        assert read_outcomes(file)[0] == read_outcomes(killed / "suites" / "small" / "results" / file.name)[0]
    assert {row["recipe"] for row in contents[0]["rows"]} == {"original", "paper", "prompt-rewrite"}
