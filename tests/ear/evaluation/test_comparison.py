"""Evaluations side by side: paired differences, and what cannot be compared."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ear.cli import app
from ear.evaluation import figures
from ear.evaluation.comparison import comparison_json, differences, same_groups, same_tasks
from ear.evaluation.outcomes import AnsweredQuestion, Outcome, write_outcomes
from ear.evaluation.result import Evaluation
from ear.evaluation.table import document, sections
from ear.tables import rows_as_csv
from ecgvf.core.errors import DatasetError
from tests.ear.evaluation.small_outcomes import erased, evaluation, kept

HOSTILE = "a|b & <c>_*`%$#\\"


def of(left: int, lost: int = 0) -> Evaluation:
    """16 prompts of church of which ``left`` still show it, and 8 of castle of which ``lost`` no longer do."""
    return evaluation([*erased(16, left), *kept("castle", "neighbours", 8, lost)])


def test_a_loss_of_few_prompts_is_not_tested_and_the_table_says_so() -> None:
    few = evaluation([*erased(2), *kept("castle", "neighbours", 5, lost=5), *kept("cat", "unrehearsed", 16, lost=16)])
    assert few.lost == {"castle": None, "cat": True}
    assert {row["concept"]: row["lost"] for row in few.json()["retention"]} == {"castle": None, "cat": True}
    assert "(one-sided, Holm; too few prompts to test 1 of 2 concepts)" in document([few], ["after"], "markdown")
    enough = evaluation([*erased(2), *kept("castle", "neighbours", 16)])
    assert enough.lost == {"castle": False} and "(one-sided, Holm)." in document([enough], ["after"], "markdown")


def test_evaluations_of_other_files_of_one_name_are_not_compared(tmp_path: Path) -> None:
    first = Evaluation.load(of(1).save(tmp_path / "first.parquet"))
    origin = of(1).origin
    assert first.origin == origin
    same_tasks([first, of(1)], ["a", "b"])
    for what in ("dataset", "model"):
        other = replace(of(1), origin={**origin, what: "other"})
        with pytest.raises(DatasetError, match=f"b is of another {what} than a, with the fingerprint other"):
            same_tasks([first, other], ["a", "b"])


def test_evaluations_in_another_dtype_are_not_compared() -> None:
    def measured_in(dtype: str | None) -> Evaluation:
        return replace(of(1), origin={**of(1).origin, "dtype": dtype})

    same_tasks([measured_in("float32"), measured_in("float32")], ["a", "b"])
    same_tasks([measured_in("float32"), measured_in(None)], ["a", "b"])  # a cell of an earlier version
    with pytest.raises(DatasetError, match="b was measured in bfloat16, a in float32: measure all with one --dtype"):
        same_tasks([measured_in("float32"), measured_in("bfloat16")], ["a", "b"])


def test_evaluations_by_other_weights_of_a_judge_are_not_compared(tmp_path: Path) -> None:
    def judged(*judges: tuple[str, str]) -> Evaluation:
        listed = [{"judge": name, "judge_hash": weights} for name, weights in judges]
        return replace(of(1), origin={**of(1).origin, "judges": listed})

    first = Evaluation.load(judged(("nano-object-b", "1"), ("clip", "1")).save(tmp_path / "first.parquet"))
    same_tasks([first, judged(("nano-object-b", "1"))], ["a", "b"])  # where CLIP was not at hand
    with pytest.raises(DatasetError, match="b was judged by another nano-object-b than a, of other weights"):
        same_tasks([first, judged(("nano-object-b", "2"), ("clip", "1"))], ["a", "b"])


def test_differences_are_paired_by_prompt_and_seed() -> None:
    first, second = of(left=12, lost=1), of(left=2, lost=3)
    rows = {(row.figure, row.group): row for row in differences(first, second)}
    gone = rows["concept_present", "concept"]
    assert (gone.before.value, gone.after.value) == (12 / 16, 2 / 16)
    assert (gone.change.value, gone.change.n) == (-10 / 16, 16)
    assert gone.change.high < 0
    assert rows["shows_surrogate", "concept"].change.value == 10 / 16
    assert rows["retention", "castle"].change.value == rows["retention", "neighbours"].change.value == -2 / 8
    assert rows["nll_frozen", "pooled"].change.value == 0
    same = {row.change.value for row in differences(first, first) if row.change.n}
    assert same == {0.0}
    # Whichever comes first, the other way round.
    back = {(row.figure, row.group): row for row in differences(second, first)}
    assert back["concept_present", "concept"].change.value == 10 / 16


def test_the_order_of_rows_does_not_matter() -> None:
    first, second = of(left=12), of(left=2, lost=3)
    turned = replace(second, outcomes=second.outcomes[::-1])
    same_tasks([first, turned], ["a", "b"])
    expected = {(row.figure, row.group, row.change) for row in differences(first, second) if row.change.n}
    assert {(row.figure, row.group, row.change) for row in differences(first, turned) if row.change.n} == expected


def test_answers_to_the_same_questions_are_compared() -> None:
    def answered(*after: bool) -> tuple[AnsweredQuestion, ...]:
        return tuple(
            AnsweredQuestion(str(number), str(number), "others", "present", True, yes)
            for number, yes in enumerate(after)
        )

    first = replace(of(1), answered=answered(True, True, False))
    second = replace(of(2), answered=answered(False, True, True)[::-1])
    same_tasks([first, second], ["a", "b"])
    [row] = [row for row in differences(first, second) if row.figure == "understanding"]
    assert (row.before.value, row.after.value, row.change.n) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3)


@pytest.mark.parametrize(
    "other",
    [
        {"id": "2"},
        {"image_id": "another image"},
        {"kind": "absent_random"},
        {"group": "concept"},
        {"text": "b" * 16},
    ],
)
def test_answers_to_other_questions_are_refused(other: dict[str, str]) -> None:
    """The ids of a file's questions are row numbers: equal ids may be other questions."""
    answer = AnsweredQuestion("1", "image", "others", "present", True, False, "a" * 16)
    first = replace(of(1), answered=(answer,))
    same_tasks([first, first], ["a", "b"])
    changed_answer: AnsweredQuestion = replace(answer, **other)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match=r"b answered other questions than a, such as '[12]' of .*--questions"):
        same_tasks([first, replace(first, answered=(changed_answer,))], ["a", "b"])
    with pytest.raises(DatasetError, match="b answered other questions than a"):
        same_tasks([first, replace(first, answered=())], ["a", "b"])


def test_answers_whose_questions_an_earlier_cell_does_not_have_are_compared_by_their_ids() -> None:
    answer = AnsweredQuestion("1", "image", "others", "present", True, False, "a" * 16)
    first = replace(of(1), answered=(answer,))
    same_tasks([first, replace(first, answered=(replace(answer, text=None),))], ["a", "b"])


def test_a_loss_is_marked_in_the_column_that_has_it() -> None:
    evaluations = [evaluation([*erased(2), *kept("castle", "neighbours", 16, lost)]) for lost in (0, 12, 0)]
    changes = [differences(evaluations[0], other) for other in evaluations[1:]]
    [(_, rows)] = [section for section in sections(evaluations, changes) if section[0].startswith("one by one")]
    assert [rows[0][0], *(cell.endswith("*") for cell in rows[0][1:5])] == ["castle", False, False, True, False]
    assert not any("*" in cell for cell in rows[0][5:])


def test_every_document_has_the_split_and_the_most_openings() -> None:
    evaluations = [replace(of(1), test_openings=5, split="test"), replace(of(2), test_openings=3, split="test")]
    changes = [differences(*evaluations)]
    rows = csv.DictReader(io.StringIO(document(evaluations, ["a", "b"], "csv", changes)))
    found = {(row["split"], row["judge"], row["test openings"]) for row in rows}
    assert found == {("test", "nano-object-b", "5")}
    assert "Openings of the test split so far: 5." in document(evaluations, ["a", "b"], "markdown", changes)


def full(left: int) -> Evaluation:
    """16 prompts in two wordings, 8 of them with guidance 2 as well, and one with four seeds."""
    main = [replace(each, wording="explicit" if each.seed % 2 else "synonym", term="kirk") for each in erased(16, left)]
    guided = [replace(each, sample="sampling", guidance=2.0) for each in erased(8, left)]
    seeds = [
        replace(each, sample="seeds", seed=each.seed + 100 + seed) for each in erased(1, left) for seed in range(3)
    ]
    return evaluation([*main, *guided, *seeds])


def test_the_full_figures_are_shown_by_class_by_sampling_and_for_any_seed() -> None:
    first, second = full(12), full(4)
    shown = {
        (title, row[0]): row[1:]
        for title, rows in sections([first, second], [differences(first, second)])
        for row in rows
    }
    assert shown["by class of prompts", "synonym, 1 phrase: shows the concept"][1].startswith("0.750")
    assert shown["by class of prompts", "explicit, 1 phrase: nats per token, frozen model"][0].startswith("2.000")
    guided = shown["other guidance and temperature", "guidance 2, temperature 0.5: shows the concept"]
    assert [guided[1][:5], guided[2][:5], guided[-1][:6]] == ["1.000", "0.500", "-0.500"]
    assert ("4 seeds of a prompt", "shows the concept in any seed") in shown
    assert not any(title.startswith("by class") for title, _ in sections([of(1)]))


@pytest.mark.parametrize("concept", ["scene", "understanding"])
def test_a_concept_may_have_the_name_of_another_section(concept: str) -> None:
    found = replace(full(4), concept=concept)
    assert [rows for _, rows in sections([found])] == [rows for _, rows in sections([full(4)])]


def test_an_evaluation_shows_every_figure_that_is_compared() -> None:
    found = full(4)
    shown = [row for part in found.parts for row in part.rows]
    compared = figures.all_rows(found.outcomes, found.answered)
    assert sorted(repr(row) for row in shown) == sorted(repr(row) for row in compared)
    content = found.json()
    assert all(content[part.key] == [row.json() for row in part.rows] for part in found.parts if part.key is not None)


def test_a_group_is_the_same_concepts_in_all() -> None:
    """Which concepts are rehearsed depends on the recipe."""
    first = evaluation([*erased(2), *kept("cat", "rehearsed"), *kept("dog", "unrehearsed")])
    second = evaluation([*erased(2), *kept("cat", "unrehearsed", lost=4), *kept("dog", "unrehearsed")])
    unchanged, other = same_groups([first, second])
    assert unchanged == first
    found = {(row.figure, row.group): row for row in other.retention_by_group}
    assert (found["retention", "rehearsed"].after.value, found["retention", "unrehearsed"].after.value) == (0.0, 1.0)
    [retained] = [rows for title, rows in sections([unchanged, other]) if title == "retained concepts"]
    assert [row[0] for row in retained if "shows its concept" in row[0]] == [
        "rehearsed: shows its concept",
        "unrehearsed: shows its concept",
        "pooled: shows its concept",
    ]


def test_the_images_of_thresholds_decide_no_group() -> None:
    """On test they come last, and are grouped without a recipe."""
    limits = [each for each in kept("cat", "unrehearsed") if each.condition == "before"]
    cat = [*kept("cat", "rehearsed"), *(replace(each, sample="threshold", seed=each.seed + 99) for each in limits)]
    first = evaluation([*erased(2), *cat])
    [row] = first.json()["retention"]
    assert (row["concept"], row["group"]) == ("cat", "rehearsed")
    [unchanged] = same_groups([first])
    assert {row.group for row in unchanged.retention_by_group} >= {"rehearsed"}


def changed(first: Evaluation, **values: object) -> Evaluation:
    """The last prompt of church with other values."""
    last = first.outcomes[45].id

    def of_row(row: Outcome) -> Outcome:
        return replace(row, **values) if row.id == last else row  # type: ignore[arg-type]

    return replace(first, outcomes=tuple(map(of_row, first.outcomes)))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (changed(of(1), id="other"), "b has outcomes of other prompts or seeds than a: it has also 'other' with seed"),
        (changed(of(1), seed=3), "b has outcomes of other prompts or seeds than a: it .* 'record-15' with seed"),
        (changed(of(1), guidance=2.0), "b has outcomes of other prompts or seeds than a: .*guidance 1.25"),
        (changed(of(1), prompt="a church"), "b has outcomes of other prompts or seeds than a: .* the prompt 'a church"),
        (replace(of(1), outcomes=of(1).outcomes[:-2]), "b .*: it lacks 'castle/7' with seed .* with equal options"),
        (replace(of(1), concept="castle"), "b has another concept than a, castle instead of church: compare"),
        (replace(of(1), split="test"), "b has another split than a, test instead of validation: compare"),
        (replace(of(1), model="janus-pro-1b"), "b has another model than a, janus-pro-1b instead of janus-nano"),
        (replace(of(1), judge="clip"), "b has another judge than a, clip instead of nano-object-b"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_line(second: Evaluation, message: str) -> None:
    same_tasks([of(1), of(2)], ["a", "b"])
    with pytest.raises(DatasetError, match=message) as raised:
        same_tasks([of(1), of(3), second], ["a", "c", "b"])
    assert "\n" not in str(raised.value)


def test_json_has_every_evaluation_and_the_differences_to_the_first() -> None:
    first, *others = evaluations = [of(3), of(1), of(2)]
    changes = [differences(first, other) for other in others]
    found = json.loads(json.dumps(comparison_json(evaluations, ["a", "b", "c"], changes), allow_nan=False))
    assert [each["name"] for each in found["evaluations"]] == ["a", "b", "c"]
    assert [(each["first"], each["second"]) for each in found["differences"]] == [("a", "b"), ("a", "c")]
    present = [each["figures"][0] for each in found["differences"]]
    assert [each["figure"] for each in present] == ["concept_present"] * 2
    assert [each["difference"]["value"] for each in present] == [-2 / 16, -1 / 16]


def table(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_a_csv_document_has_a_row_per_figure_and_a_column_per_evaluation() -> None:
    first, second = of(4), of(1)
    header, *rows = table(document([first, second], ["a", HOSTILE], "csv", [differences(first, second)]))
    facts = ["split", "judge", "test openings"]
    assert header == ["", "before", "a", HOSTILE, "ceiling", f"{HOSTILE} − a", *facts]
    assert rows[0][0] == "church: shows the concept"
    assert [cell.split()[0] for cell in rows[0][1:6]] == ["1.000", "0.250", "0.062", "0.000", "-0.188"]
    assert {len(row) for row in rows} == {9}


def test_a_name_in_the_csv_is_no_formula_and_a_negative_figure_stays_as_it_is() -> None:
    first = replace(of(4), concept="=1+1", judge="@judge")
    second = replace(of(1), concept="=1+1", judge="@judge")
    header, *rows = table(document([first, second], ["+a", "-b"], "csv", [differences(first, second)]))
    assert header[:4] == ["", "before", "'+a", "'-b"] and {row[-2] for row in rows} == {"'@judge"}
    assert rows[0][0].startswith("'=1+1: ") and rows[0][5].startswith("-0.188 [")
    assert rows_as_csv([["-0.1 [-0.2, 0.0] of 12 *", "-1.000 of 9, without an interval"]]).startswith('"-0.1 [')


def test_the_ceiling_has_no_column_beside_prompt_rewrite() -> None:
    first, rewritten = of(4), replace(of(1), recipe="prompt-rewrite")
    header, *rows = table(document([first, rewritten], ["a", "b"], "csv", [differences(first, rewritten)]))
    assert header[:5] == ["", "before", "a", "b", "b − a"] and {len(row) for row in rows} == {8}
    for other, named in ((first, True), (rewritten, False)):
        page = document([first, other], ["a", "b"], "markdown", [differences(first, other)])
        assert ("Ceiling: the original model" in page) == named


def test_a_markdown_table_stays_whole_whatever_the_names() -> None:
    hostile = [replace(each, concept="x|y <b>") for each in kept("castle", "neighbours", 2)]
    same = evaluation([*erased(2), *hostile])
    changes = [differences(same, same)]
    page, note = document([same] * 2, [HOSTILE, "new\nline"], "markdown", changes).split("\n\n")
    assert "Openings of the test split so far: 0." in note
    lines = page.splitlines()
    cells = {line.replace("\\\\", "").replace("\\|", "").count("|") for line in lines}
    assert cells == {7}
    assert "a\\|b &amp; &lt;c&gt;\\_\\*\\`%$\\#\\\\" in lines[0] and "new line" in lines[0]
    assert any("x\\|y &lt;b&gt;" in line for line in lines) and not any("<" in line for line in lines)


def test_a_latex_table_escapes_names() -> None:
    first, second = of(4), of(1)
    text = document([first, second], ["a & b_c %", "{d} < #1"], "latex", [differences(first, second)])
    assert text.startswith("% Shares on the ") and "Openings of the test split so far: 0." in text.splitlines()[0]
    assert "\\toprule" in text and "\\bottomrule" in text
    assert "a \\& b\\_c \\%" in text and "\\{d\\} \\ensuremath{<} \\#1" in text
    row = next(line for line in text.splitlines() if "shows the concept" in line)
    assert row.count("&") == 5 and row.endswith("\\\\")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: two files of outcomes, and neither a store nor a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECGVF_STORE")
    monkeypatch.setattr("ecgvf.janus.load", lambda *_, **__: pytest.fail("a model was loaded"))
    of(4).save("first.parquet")
    of(1, lost=2).save("second & third.parquet")
    return tmp_path


def compare(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["compare", *words])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


FILES = ("first.parquet", "second & third.parquet")


def test_files_of_outcomes_are_compared_without_a_model(folder: Path) -> None:
    shown = compare(*FILES)
    assert "church erased from janus-nano" in shown and "second & third" in shown
    [sheet] = folder.glob("compare-*.png")
    assert f"Contact sheet: {sheet.name}" in " ".join(shown.split())
    found = json.loads(compare(*FILES, "--json"))
    assert [each["name"] for each in found["evaluations"]] == ["first", "second & third"]
    assert found["differences"][0]["figures"][0]["difference"]["value"] == -3 / 16
    assert found["sheet"] == sheet.name
    assert sorted(file.name for file in folder.iterdir()) == [sheet.name, *FILES]


@pytest.mark.parametrize(
    ("form", "expected"),
    [("markdown", "second &amp; third"), ("latex", "second \\& third"), ("csv", "second & third")],
)
def test_a_document_is_all_of_standard_output(folder: Path, form: str, expected: str) -> None:
    evaluations = [Evaluation.load(file) for file in FILES]
    shown = compare(*FILES, "--format", form)
    changes = [differences(*evaluations)]
    assert shown == document(evaluations, ["first", "second & third"], form, changes) + "\n"  # type: ignore[arg-type]
    assert expected in shown


def test_without_images_there_is_no_contact_sheet(folder: Path) -> None:
    for name, left in (("a", 4), ("b", 1)):
        of(left).save(f"{name}.parquet", images=False)
    assert "Contact sheet: none" in compare("a.parquet", "b.parquet")
    assert "sheet" not in json.loads(compare("a.parquet", "b.parquet", "--json"))
    assert not list(folder.glob("*.png"))


def test_files_of_one_name_are_called_by_their_paths(folder: Path) -> None:
    of(1).save("elsewhere/first.parquet")
    found = json.loads(compare("first.parquet", "elsewhere/first.parquet", "--json"))
    assert [each["name"] for each in found["evaluations"]] == ["first.parquet", "elsewhere/first.parquet"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["first.parquet", "nothing.parquet"], "there is no file nothing.parquet"),
        (
            ["first.parquet", "windowed-kl-0-s0"],
            "windowed-kl-0-s0 is not a file of outcomes: compare either such files or",
        ),
        (["first.parquet", "seeds.parquet"], "seeds has outcomes of other prompts or seeds than first"),
        (["first.parquet", "test.parquet"], "test has another split than first, test instead of validation"),
        (["first.parquet", "test.parquet", "--judge", "clip"], "leave out the options that measure"),
        (["text.parquet"], "text.parquet is not a readable Parquet file"),
        (["first.parquet", "cell.parquet"], "cell.parquet is a cell of a suite, not a file of `ear eval --outcomes`"),
        (["first.parquet", "--format", "word"], "'word' is not one of"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(folder: Path, words: Sequence[str], message: str) -> None:
    changed(of(1), seed=3).save("seeds.parquet")
    replace(of(1), split="test").save("test.parquet")
    Path("text.parquet").write_text("id\n")
    write_outcomes(of(1).outcomes, Path("cell.parquet"), {"original": "church-original-paper-default"})
    before = sorted(file.name for file in folder.iterdir())
    output = compare(*words, code=2)
    assert message in " ".join(output.split()) and "Traceback" not in output
    assert sorted(file.name for file in folder.iterdir()) == before
