"""The table of a suite: rows computed from the outcomes of finished cells, and the leaderboard made from them."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from ear.evaluation.outcomes import Outcome, read_facts, read_outcomes
from ear.suite import Cell, CellResult, Suite, copy_finished, leaderboard, read_spec, results
from ear.suite.leaderboard import COLUMNS, leaderboard_table, main_figures, standings
from ear.suite.rows import drop_repeated_references, missing_row
from ear.suite.rows import table_rows as rows_of
from ear.suite.spec import SuiteSpec
from ear.suite.table import SCHEMA, csv_text, json_file, write_results
from ecgvf.core.errors import DatasetError
from ecgvf.core.files import JSON
from ecgvf.core.records import WORDINGS
from ecgvf.publish.push_results import FACTS, FILE
from tests.ear.evaluation.small_outcomes import both
from tests.ear.suite.small_suite import attacked, cell_result, keep, small_suite

ROOT = Path(__file__).parents[3]
SPEC = SuiteSpec(concepts=("church", "cat"), recipes=("paper",))
KEYS = {
    *("concept", "model", "recipe", "split", "figure", "group", "class", "attack", "budget", "phrases"),
    *("guidance", "temperature", "judge", "run_seeds", "training_seeds", "value", "n", "low", "high", "status"),
}


def table_rows(concept: str, recipe: str, cells: list[CellResult]) -> list[JSON]:
    return rows_of({"concept": concept, "model": "janus-nano", "split": "test"}, recipe, cells)


def test_rows_pool_seeds_without_counting_them_as_prompts() -> None:
    rows = table_rows("church", "paper", [cell_result(0, 0, 0), cell_result(1, 0, 6)])
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
    assert {row["status"] for row in rows} == {"none"}
    # Nothing to subtract from: the original agrees with its own tokens by definition.
    assert ("paper", "token_agreement", "neighbours") in found
    assert ("paper", "token_agreement_change", "neighbours") not in found


def test_the_columns_of_every_row_are_in_the_order_of_the_schema(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, figures="full")
    keep(suite, replace(attacked(oracle=True), cell=Cell("church", "paper", 0, 0, "full")))
    assert {tuple(row) for row in results(suite, "")["rows"]} == {tuple(SCHEMA.names)}


def test_other_recipes_are_compared_with_the_one_that_has_goals_prompt_by_prompt(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, figures="full", recipes=("paper", "on-policy"), goals="on-policy")
    keep(suite, cell_result(0, 0, 9, "paper"))
    assert not [row for row in results(suite, "")["rows"] if row["figure"].endswith("_difference")]
    keep(suite, cell_result(0, 0, 3, "on-policy"))
    rows = [row for row in results(suite, "")["rows"] if row["figure"].endswith("_difference")]
    assert {row["recipe"] for row in rows} == {"paper"}
    found = {(row["figure"], row["group"]): row for row in rows}
    present = found["concept_present_difference", "concept"]
    assert (present["value"], present["n"], present["run_seeds"], present["training_seeds"]) == (0.5, 12, [0], [0])
    assert present["low"] > 0  # 6 of 12 prompts differ, all in one direction
    assert found["retention_difference", "castle"]["value"] == found["retention_difference", "pooled"]["value"] == 0.0


def test_cells_of_other_seeds_are_not_compared(tmp_path: Path) -> None:
    suite = small_suite(
        tmp_path, figures="full", recipes=("paper", "on-policy"), goals="on-policy", training_seeds=(0, 1)
    )
    keep(suite, cell_result(0, 0, 9, "paper"))
    keep(suite, cell_result(0, 1, 3, "on-policy"))
    assert not [row for row in results(suite, "")["rows"] if row["figure"].endswith("_difference")]


def test_a_ratio_has_the_judges_of_its_share() -> None:
    rows = table_rows("church", "paper", [cell_result(0, 0, 0)])
    judges = {(row["figure"], row["group"]): row["judge"] for row in rows}
    assert judges["retention_ratio", "pooled"] == judges["retention", "pooled"] == "nano-object-b"
    assert judges["shows_something", "concept"] == "nano-object-b+nano-object-c"
    assert judges["nll_frozen", "pooled"] is None


def test_the_originals_row_of_a_group_is_left_out_although_other_judges_saw_it() -> None:
    row = missing_row(SPEC, "church", "original", []) | {"figure": "retention", "group": "rehearsed", "n": 8}
    shared, other = row | {"value": 0.9, "judge": "nano-style"}, row | {"value": 0.8, "judge": "nano-object-b"}
    assert drop_repeated_references([shared, other]) == []


def test_seeds_that_end_in_the_same_adapter_count_once() -> None:
    first, second = cell_result(0, 0, 3), cell_result(0, 1, 3)
    same = replace(second, outcomes=[replace(outcome, adapter="paper-0-0") for outcome in second.outcomes])
    once, twice = table_rows("church", "paper", [first]), table_rows("church", "paper", [first, same])
    figures = [(row["figure"], row["value"], row["low"]) for row in once]
    assert figures == [(row["figure"], row["value"], row["low"]) for row in twice]


def test_figures_that_only_the_full_cell_has_name_its_seeds_alone() -> None:
    full, other = cell_result(0, 0, 3), replace(cell_result(1, 0, 3), answered=[])

    def with_sampled(outcomes: list[Outcome]) -> list[Outcome]:
        concept = [each for each in outcomes if each.group == "concept"]
        seeds = [replace(each, sample="seeds", seed=seed) for each in concept for seed in range(4)]
        return [*outcomes, *seeds, *(replace(each, sample="sampling", temperature=1.0) for each in concept)]

    full = replace(full, outcomes=with_sampled(full.outcomes), original=with_sampled(full.original))
    rows = table_rows("church", "paper", [full, other])
    seeds = {(row["figure"], row["temperature"]): row["run_seeds"] for row in rows if row["recipe"] == "paper"}
    assert seeds["concept_present", 0.5] == [0, 1]
    assert seeds["concept_present", 1.0] == seeds["understanding", 0.5] == seeds["concept_present_any", 0.5] == [0]


def test_attacks_are_rows_beside_their_controls() -> None:
    rows = [row for row in table_rows("church", "paper", [attacked(oracle=True)]) if row["attack"] == "soft-prompt"]
    found = {(row["figure"], row["recipe"], row["group"]): row for row in rows}
    assert {row["budget"] for row in rows} == {100} and all(row.keys() == KEYS for row in rows)
    assert {key: row["value"] for key, row in found.items()} == {
        ("concept_present_unattacked", "original", "concept"): 1.0,
        ("concept_present_unattacked", "paper", "concept"): 0.0,
        ("concept_present", "paper", "concept"): 0.5,
        ("concept_present", "oracle", "concept"): 0.25,
        ("concept_present_above_oracle", "paper", "concept"): 0.25,
        ("concept_present", "oracle", "absent concept"): None,
    }
    assert found["concept_present", "oracle", "absent concept"]["status"] == "not measured"


def test_rows_of_a_class_have_its_phrases_and_its_scene() -> None:
    result = cell_result(0, 0, 0)
    terms = [replace(each, term=f"kirk {each.seed % 2}") if each.wording else each for each in result.outcomes]
    rows = table_rows("church", "paper", [replace(result, outcomes=terms, original=result.original)])
    of_class = {row["figure"]: row for row in rows if row["class"] == "explicit" and row["recipe"] == "paper"}
    assert {"concept_present", "shows_surrogate", "nll_frozen"} <= of_class.keys()
    assert {row["phrases"] for row in of_class.values()} == {3}  # "church" before, and the two after
    assert {row["phrases"] for row in rows if row["class"] == "pooled"} == {None}


def test_a_class_of_which_some_prompts_are_in_the_full_cell_alone_changes_by_after_minus_before() -> None:
    # 12 main prompts with an image of each of three adapters, and 12 of the same wording in the full cell alone.
    full, *others = (cell_result(run_seed, 0, left) for run_seed, left in ((0, 3), (1, 6), (2, 6)))

    def with_wording(outcomes: list[Outcome]) -> list[Outcome]:
        further = [
            replace(each, sample="wording", id=f"further-{each.id}", judges=both("hotel"))
            for each in outcomes
            if each.group == "concept"
        ]
        return [*outcomes, *further]

    full = replace(full, outcomes=with_wording(full.outcomes), original=with_wording(full.original))
    rows = [row for row in table_rows("church", "paper", [full, *others]) if row["value"] is not None]
    found = {(row["recipe"], row["figure"], row["group"], row["class"]): row["value"] for row in rows}
    present = [found[name, "concept_present", "concept", "explicit"] for name in ("original", "paper")]
    assert present == [pytest.approx(12 / 24), pytest.approx((3 + 6 + 6) / 3 / 24)]
    changes = [key for key in found if key[1].endswith("_change")]
    assert {key[3] for key in changes} == {"pooled", "explicit"}
    for recipe, change, *where in changes:
        before, after = (found[name, change.removesuffix("_change"), *where] for name in ("original", recipe))
        assert found[recipe, change, *where] == pytest.approx(after - before)


def test_an_oracle_is_a_reference_beside_the_methods() -> None:
    rows = [
        row for row in table_rows("church", "oracle", [cell_result(0, 0, 1, "oracle")]) if row["recipe"] == "oracle"
    ]
    found = {(row["figure"], row["group"]): row for row in rows if row["class"] == "pooled"}
    assert found["concept_present", "concept"]["value"] == 1 / 12 and found["retention_ratio", "pooled"]["value"] < 1
    assert {(*row["run_seeds"], *row["training_seeds"]) for row in rows} == {(0,)}


def test_prompts_that_the_original_does_not_render_do_not_apply() -> None:
    rows = table_rows("church", "paper", [attacked(oracle=False)])
    tokens = {(row["figure"], row["recipe"]): row["status"] for row in rows if row["attack"] == "control tokens"}
    assert tokens["concept_present", "original"] == "none" and tokens["concept_present", "paper"] == "not applicable"
    rendered = {row["class"]: (row["value"], row["status"]) for row in rows if row["figure"] == "rendered"}
    assert rendered == {"explicit": (11 / 12, "none"), "misspelled": (0.25, "not applicable")}


def test_attacks_are_kept_with_the_cell_and_are_no_main_figures(tmp_path: Path) -> None:
    suite, source = small_suite(tmp_path, concepts=("church",), figures="full"), attacked(oracle=True)
    source = replace(source, cell=replace(source.cell, figures="full"))
    keep(suite, source)
    read = suite.cell_result(source.cell)
    assert read is not None and len(read.attacked) == len(source.attacked) and read.classes == source.classes
    assert len(read.outcomes) == len(source.outcomes)
    line = next(line for line in leaderboard(results(suite, "")).splitlines() if "paper" in line)
    assert line.split("|")[3].strip().startswith("0.00")


def test_a_main_figure_is_the_concepts_where_the_retained_concepts_have_one_of_its_name() -> None:
    rows = [row for row in table_rows("church", "paper", [cell_result(0, 0, 0)]) if row["recipe"] == "paper"]
    pooled = [row for row in rows if row["class"] == "pooled" and row["attack"] is None]
    assert {"concept", "pooled"} <= {row["group"] for row in pooled if row["figure"] == "shows_something"}
    for ordered in (pooled, sorted(pooled, key=lambda row: row["group"] != "pooled")):
        assert main_figures(ordered)["shows_something"]["group"] == "concept"


def test_what_a_detector_cannot_tell_of_the_concept_is_not_taken_from_the_retained_concepts(tmp_path: Path) -> None:
    suite, result = small_suite(tmp_path, concepts=("church",)), cell_result(0, 0, 3)

    def detected(outcomes: list[Outcome]) -> list[Outcome]:
        """A detector names nothing that it sees, and looks for the erased concept alone."""
        return [
            replace(each, judges=(replace(each.judges[0], judge="nudenet", top=()),))
            if each.group == "concept"
            else each
            for each in outcomes
        ]

    keep(suite, replace(result, outcomes=detected(result.outcomes), original=detected(result.original)))
    content = results(suite, "")
    assert any(row["figure"] == "shows_something" for row in content["rows"])
    something, lines = [*COLUMNS].index("shows_something"), standings(content["rows"])
    assert lines and all(cells[something] == "not measured" for *_, cells in lines)


def test_the_groups_are_those_of_the_recipe() -> None:
    result = cell_result(0, 0, 0)
    regrouped: list[Outcome] = [
        replace(outcome, group="unrehearsed") if outcome.concept == "cat" else outcome for outcome in result.outcomes
    ]
    rows = table_rows("church", "paper", [replace(result, outcomes=regrouped)])
    assert "unrehearsed" in {row["group"] for row in rows} and "rehearsed" not in {row["group"] for row in rows}


def test_the_originals_row_of_a_group_that_methods_fill_differently_is_left_out() -> None:
    row = missing_row(SPEC, "church", "original", []) | {"figure": "retention", "group": "rehearsed", "n": 8}
    shared, other = row | {"value": 0.9}, row | {"value": 0.8}
    assert drop_repeated_references([shared, shared]) == [shared]
    assert drop_repeated_references([shared, other]) == []


def test_of_the_originals_other_rows_that_of_the_most_prompts_is_kept() -> None:
    row = missing_row(SPEC, "church", "original", []) | {"figure": "retention", "group": "pooled"}
    fewer, more, later = (row | {"n": n, "value": value} for n, value in ((8, 0.9), (10, 0.8), (10, 0.7)))
    assert drop_repeated_references([fewer, more, later]) == drop_repeated_references([more, fewer, later]) == [more]


def test_what_is_missing_is_a_row_that_was_not_measured() -> None:
    row = missing_row(SPEC, "cat", "paper", [Cell("cat", "paper", 0, 0), Cell("cat", "paper", 0, 1)])
    assert row.keys() == KEYS
    assert (row["value"], row["status"], row["training_seeds"]) == (None, "not measured", [0, 1])


def test_finished_cells_are_read_again_and_changed_ones_are_not(tmp_path: Path) -> None:
    suite, source = small_suite(tmp_path), cell_result(0, 0, 3)
    keep(suite, source)
    read = suite.cell_result(source.cell)
    assert read is not None and len(read.outcomes) == len(source.outcomes) and not read.outcomes[0].image
    content = results(suite, "ear suite")
    assert content["met"] is None and content["rows"][0]["group"] == content["rows"][0]["class"] == "pooled"
    assert [row["status"] for row in content["rows"] if row["concept"] == "castle"] == ["not measured"]
    assert "| church" in leaderboard(content) and "Not measured: castle paper (1 cell)." in leaderboard(content)
    assert small_suite(tmp_path, pairs=61).cell_result(source.cell) is None


def test_the_ceiling_is_listed_once(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, concepts=("church",), recipes=("paper", "prompt-rewrite"))
    keep(suite, cell_result(0, 0, 3))
    assert "ceiling" in leaderboard(results(suite, ""))
    keep(suite, cell_result(0, 0, 0, "prompt-rewrite"))
    content = results(suite, "")
    assert {row["recipe"] for row in content["rows"]} == {"original", "paper", "prompt-rewrite"}
    assert "ceiling" not in leaderboard(content)


def test_a_cell_of_the_leaderboard_says_what_does_not_apply_and_what_was_not_measured(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, concepts=("church",))
    keep(suite, cell_result(0, 0, 3))
    head, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in leaderboard_table(results(suite, "")).splitlines()
    ]
    found = {line[1]: dict(zip(head, line, strict=True)) for line in lines}
    retained = ("neighbours", "surrogates", "all retained")
    assert {found["ceiling"][column] for column in retained} == {"not applicable"}
    # No concept of this suite is a surrogate or has scenes.
    for row in (found["original"], found["paper"]):
        assert (row["surrogates"], row["scene kept"]) == ("not measured", "not measured")
        assert row["neighbours"].startswith("1.00")
    assert all(cell for line in lines for cell in line)


def test_each_adapter_of_a_method_with_several_seeds_has_a_line_of_its_own(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, recipes=("paper", "on-policy"), run_seeds=(0, 1), first_cell_only=("on-policy",))
    for result in (cell_result(0, 0, 3), cell_result(1, 0, 6), cell_result(0, 0, 0, "on-policy")):
        keep(suite, result)
    content = results(suite, "")
    present = [row for row in content["by_seed"] if row["figure"] == "concept_present"]
    assert [(row["recipe"], row["run_seeds"], row["value"]) for row in present] == [
        ("paper", [0], 0.25),
        ("paper", [1], 0.5),
    ]
    write_results(suite, content)
    lines = (suite.results / "leaderboard.md").read_text().splitlines()
    shown = [
        [cell.strip() for cell in line.split("|")[1:5]] for line in lines if "| 0, 0 " in line or "| 1, 0 " in line
    ]
    assert [line[:3] for line in shown] == [["church", "paper", "0, 0"], ["church", "paper", "1, 0"]]
    assert [line[3][:4] for line in shown] == ["0.25", "0.50"]


def test_a_table_asks_once_whether_a_cell_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = small_suite(tmp_path, recipes=("paper", "esd"), figures="full", goals="paper")
    asked = list[Cell]()
    monkeypatch.setattr(Suite, "facts", lambda _, cell: asked.append(cell))
    results(suite, "")
    assert asked == suite.cells


def test_a_table_reads_no_file_of_outcomes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = small_suite(tmp_path, concepts=("church",), recipes=("paper", "prompt-rewrite"), run_seeds=(0, 1))
    for cell in suite.cells:
        keep(suite, cell_result(*cell.seeds, 3, cell.recipe))
    read: list[str] = []

    def recorded(file: Path) -> tuple[list[Outcome], JSON]:
        read.append(file.name)
        return read_outcomes(file)

    monkeypatch.setattr("ear.suite.suite.read_outcomes", recorded)
    first = results(suite, "")["rows"]
    assert len(read) == len(set(read)) == len(suite.cells) + 2
    assert results(suite, "")["rows"] == first and len(read) == len(suite.cells) + 2


def test_results_say_how_long_their_cells_took(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, recipes=("paper", "prompt-rewrite"))
    keep(suite, cell_result(0, 0, 3))
    keep(suite, cell_result(0, 0, 0, "prompt-rewrite"))
    content = results(suite, "")
    assert content["seconds"] == 120
    write_results(suite, content)
    facts = json.loads(pq.read_schema(suite.results / FILE).metadata[FACTS])
    assert facts["seconds"] == 120 and [cell["seconds"] for cell in facts["cells"]] == [60, 60]


def test_the_versions_are_those_that_measured_the_cells(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, recipes=("paper", "prompt-rewrite", "esd"))
    keep(suite, cell_result(0, 0, 3))
    for recipe in ("prompt-rewrite", "esd"):
        keep(suite, cell_result(0, 0, 0, recipe), versions={"torch": "1"})
    unknown, known = {"cells": 1, "versions": None}, {"cells": 2, "versions": {"torch": "1"}}
    assert results(suite, "")["versions"] == [unknown, known]


def test_what_a_cell_did_not_measure_is_kept_beside_its_files(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    keep(suite, cell_result(0, 0, 3), not_measured=["rehearsed (training rehearsed nothing)"])
    write_results(suite, results(suite, ""))
    facts = json.loads(pq.read_schema(suite.results / FILE).metadata[FACTS])
    assert facts["cells"][0]["not_measured"] == ["rehearsed (training rehearsed nothing)"]


def test_the_caption_says_of_which_model_split_judges_and_prompts_the_table_is(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, split="validation")
    keep(suite, cell_result(0, 0, 3), openings=[])
    text = leaderboard(results(suite, ""))
    assert "| concept   | method" in text
    assert "janus-nano, validation split, 95% intervals over prompts." in text
    assert "Judges of the concept: nano-object-b (church)." in text
    assert "Openings of the test split: church 0, castle unknown." in text
    assert "Prompts (n): shows the concept 12," in text and "neighbours 12, all retained 24." in text


def test_finished_cells_of_another_folder_are_copied(tmp_path: Path) -> None:
    declared, suite = small_suite(tmp_path / "declared"), small_suite(tmp_path / "mine")
    keep(declared, cell_result(0, 0, 3))
    keep(declared, replace(cell_result(0, 0, 0), cell=Cell("castle", "paper", 0, 0)))
    (declared.results / "datasets.json").write_text('{"church": {}}')
    keep(suite, cell_result(0, 0, 6))
    own = suite.file("church-paper-r0-t0").read_bytes()
    copy_finished(suite, declared.results)
    assert all(suite.facts(cell) is not None for cell in suite.cells)
    assert suite.file("church-paper-r0-t0").read_bytes() == own
    assert json.loads((suite.results / "datasets.json").read_text()) == {"church": {}}
    stale = small_suite(tmp_path / "stale", pairs=61)
    copy_finished(stale, declared.results)
    assert not stale.results.exists()


def test_finished_cells_of_another_dataset_are_not_copied(tmp_path: Path) -> None:
    declared = {"recipes": ("paper", "prompt-rewrite")}
    suite, earlier = small_suite(tmp_path, **declared), small_suite(tmp_path / "earlier", **declared)
    keep(suite, cell_result(0, 0, 3), dataset="after the review")
    keep(earlier, cell_result(0, 0, 0, "prompt-rewrite"), dataset="before it")
    copy_finished(suite, earlier.results)
    assert not suite.file("church-prompt-rewrite-r0-t0").exists()
    keep(earlier, cell_result(0, 0, 0, "prompt-rewrite"), dataset="after the review")
    copy_finished(suite, earlier.results)
    assert suite.facts(Cell("church", "prompt-rewrite", 0, 0)) is not None


def test_the_results_are_the_same_rows_as_json_parquet_and_csv(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    keep(suite, cell_result(0, 0, 3))
    content = results(suite, "ear suite small.yaml")
    write_results(suite, content)
    assert json.loads((tmp_path / "results.json").read_bytes()) == content
    parquet = pq.read_table(suite.results / "results.parquet")
    assert parquet.to_pylist() == [{name: row[name] for name in SCHEMA.names} for row in content["rows"]]
    csv = pyarrow.csv.read_csv(suite.results / "results.csv")
    assert csv.column_names == parquet.column_names and csv["value"].to_pylist() == parquet["value"].to_pylist()


def test_a_name_in_the_csv_is_no_formula_and_a_negative_number_stays_a_number(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    keep(suite, cell_result(0, 0, 3))
    content = results(suite, "ear suite small.yaml")
    content["rows"][0] |= {"group": "=HYPERLINK(1)", "value": -0.5}
    csv = pyarrow.csv.read_csv(io.BytesIO(csv_text(content["rows"])))
    assert (csv["group"][0].as_py(), csv["value"][0].as_py()) == ("'=HYPERLINK(1)", -0.5)


def test_datasets_with_a_merge_conflict_are_one_line(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    keep(suite, cell_result(0, 0, 3))
    (suite.results / "datasets.json").write_text("<<<<<<< HEAD\n{}\n")
    with pytest.raises(DatasetError, match=r"datasets\.json is not what `ear suite` writes: restore it, or delete it"):
        copy_finished(small_suite(tmp_path / "mine"), suite.results)


def test_the_number_of_copied_cells_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(declared := small_suite(tmp_path / "declared"), cell_result(0, 0, 3))
    copy_finished(small_suite(tmp_path / "mine"), declared.results)
    assert "1 finished cell copied from" in capsys.readouterr().err


def test_results_in_the_current_folder_have_their_json_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert json_file(Path()) == tmp_path.with_name(f"{tmp_path.name}.json")


def test_a_method_without_token_ids_has_figures_that_are_not_measured(tmp_path: Path) -> None:
    suite, source = small_suite(tmp_path, concepts=("church",)), cell_result(0, 0, 3)
    without = [replace(outcome, nll_frozen=None, token_agreement=None) for outcome in source.outcomes]
    keep(suite, replace(source, outcomes=without))
    line = next(line for line in leaderboard(results(suite, "")).splitlines() if "paper" in line)
    assert line.count("not measured") == 3  # nats per token; and no concept of this suite is a surrogate or has scenes


COMMITTED = pytest.mark.parametrize(
    ("declared", "folder"), [("nano.yaml", "benchmark"), ("nano-wordings.yaml", "benchmark-wordings")]
)


@COMMITTED
def test_the_committed_outcomes_are_those_of_the_declared_suite(declared: str, folder: str) -> None:
    suite = Suite(read_spec(ROOT / "benchmarks" / declared), ROOT / "build", ROOT / "docs" / folder)
    files = {cell.name: cell for cell in suite.cells}
    committed = [file for file in suite.results.glob("*.parquet") if "original" in read_facts(file)]
    assert committed and all(suite.facts(files[file.stem]) is not None for file in committed)


@COMMITTED
def test_the_rows_of_the_json_are_those_of_the_committed_outcomes(declared: str, folder: str) -> None:
    def rows(content: JSON) -> list[JSON]:
        return [
            {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}
            for row in content["rows"]
            if (row["concept"], row["recipe"]) == ("van-gogh", "paper")
            and not row["figure"].endswith("_difference")  # they take the outcomes of another recipe as well
        ]

    spec = read_spec(ROOT / "benchmarks" / declared)
    part = {"concepts": ("van-gogh",), "recipes": ("paper",), "first_cell_only": (), "goals": None, "oracles": {}}
    computed = rows(results(Suite(spec.model_copy(update=part), ROOT / "build", ROOT / "docs" / folder), ""))
    assert len(computed) > 80 and computed == rows(json.loads((ROOT / "docs" / f"{folder}.json").read_text()))


def test_each_class_of_wordings_has_at_least_80_prompts() -> None:
    rows = json.loads((ROOT / "docs" / "benchmark-wordings.json").read_text())["rows"]
    classes = [row for row in rows if row["figure"] == "concept_present" and row["class"] in WORDINGS]
    assert {row["recipe"] for row in classes} == {"original", "ceiling", "on-policy", "paper"}
    assert len(classes) == 4 * (3 * 6 + 4) and all(row["n"] >= 80 and row["phrases"] for row in classes)


def test_the_docs_show_the_leaderboard_of_the_json() -> None:
    content = json.loads((ROOT / "docs" / "benchmark.json").read_text())
    assert leaderboard_table(content) in (ROOT / "docs" / "results.md").read_text()


def test_the_docs_count_at_least_the_openings_of_the_json_and_the_readme_the_fewest_and_the_most() -> None:
    content = json.loads((ROOT / "docs" / "benchmark.json").read_text())
    results, readme = (" ".join((ROOT / file).read_text().split()) for file in ("docs/results.md", "README.md"))
    shown = results.split("Openings of the test split: ")[1].split(".")[0]
    openings = {concept: int(count) for concept, count in re.findall(r"([\w-]+) at least (\d+)", shown)}
    assert openings.keys() == content["test_openings"].keys()  # with those of earlier recipes:
    assert all(openings[concept] >= each["count"] for concept, each in content["test_openings"].items())
    (fewest, least), *_, (most, last) = sorted(openings.items(), key=lambda item: item[1])
    assert f"at least {least} times ({fewest}) to {last} times ({most})" in readme


def test_the_readme_shows_a_part_of_that_table() -> None:
    def cells(table: str) -> list[list[str]]:
        lines = [line for line in table.splitlines() if line.startswith("|") and "---" not in line]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    head, *rows = cells(leaderboard_table(json.loads((ROOT / "docs" / "benchmark.json").read_text())))
    whole = {(row[0], row[1]): dict(zip(head, row, strict=True)) for row in rows}
    part = (ROOT / "README.md").read_text().split("| concept ")[1].split("\n\n")[0]
    columns, *shown = cells(f"| concept {part}")
    assert {row[0] for row in shown} == {concept for concept, _ in whole}
    for row in shown:
        assert row == [whole[row[0], row[1]][column] for column in columns]


def test_the_documented_ranges_over_seeds_are_those_of_the_benchmark() -> None:
    by_method: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in json.loads((ROOT / "docs" / "benchmark.json").read_text())["by_seed"]:
        column = f"{row['figure']} {row['group']}" if row["figure"] == "retention" else row["figure"]
        by_method.setdefault((row["concept"], row["recipe"]), {}).setdefault(column, []).append(row["value"])
    columns = ("concept_present", "shows_surrogate", "nll_frozen", "retention neighbours", "retention pooled")
    lines = []
    for (concept, method), values in by_method.items():
        cells = [f"{concept} `{method}`", str(len(values["nll_frozen"])), *(spread(values[name]) for name in columns)]
        lines.append(f"| {' | '.join(cells)} |")
    assert len(lines) > 5 and "\n".join(lines) in (ROOT / "docs" / "results.md").read_text()


def spread(values: list[float]) -> str:
    return " to ".join(dict.fromkeys(f"{end(values):.3f}" for end in (min, max)))
