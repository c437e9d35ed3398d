"""Rows of outcomes: written, read again, and refused in one line."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ear.evaluation.outcomes import (
    FACTS,
    AnsweredQuestion,
    AttributeOutcome,
    Condition,
    JudgeOutcome,
    Outcome,
    Sample,
    paired,
    read_outcomes,
    write_outcomes,
)
from ear.evaluation.result import Evaluation
from ear.retained_concepts import Group
from ecgvf.core import contact_sheet
from ecgvf.core.errors import DatasetError
from ecgvf.core.records import WORDINGS, from_table, to_table
from tests.ear.evaluation.small_outcomes import erased, evaluation, kept, outcome

FLOAT32 = st.floats(allow_nan=False, allow_infinity=False, width=32)
SHARE = st.floats(0, 1, width=32)
TEXT = st.text(max_size=12)

JUDGES = st.builds(
    JudgeOutcome,
    judge=TEXT,
    present=st.booleans(),
    score=SHARE,
    top=st.lists(st.tuples(TEXT, SHARE), max_size=3).map(tuple),
)
ATTRIBUTES = st.builds(AttributeOutcome, attribute=TEXT, asked=st.none() | TEXT, seen=TEXT, probability=SHARE)
OUTCOMES = st.builds(
    Outcome,
    id=TEXT,
    sample=st.sampled_from(get_args(Sample)),
    condition=st.sampled_from(get_args(Condition)),
    concept=TEXT,
    group=st.sampled_from(get_args(Group)),
    prompt=TEXT,
    wording=st.none() | st.sampled_from(WORDINGS),
    term=TEXT,
    surrogate=st.none() | TEXT,
    surrogate_label=st.none() | TEXT,
    surrogate_prompt=st.none() | TEXT,
    seed=st.integers(0, 2**63 - 1),
    guidance=st.floats(0, 100),
    temperature=st.floats(0, 100),
    adapter=st.none() | TEXT,
    judges=st.lists(JUDGES, max_size=2).map(tuple),
    attributes=st.lists(ATTRIBUTES, max_size=4).map(tuple),
    clip_surrogate=st.none() | st.floats(-1, 1),
    clip_target=st.none() | st.floats(-1, 1),
    nll_frozen=FLOAT32,
    token_agreement=st.none() | st.floats(0, 1),
    vq_ids=st.lists(st.integers(0, 2**16 - 1), max_size=5).map(tuple),
    image=st.binary(max_size=8),
)


@given(st.lists(OUTCOMES, max_size=3))
def test_rows_become_the_same_outcomes_again(outcomes: list[Outcome]) -> None:
    assert from_table(Outcome, to_table(Outcome, outcomes)) == outcomes


def test_a_row_has_a_column_per_field_and_other_tools_read_it(tmp_path: Path) -> None:
    file = write_outcomes([outcome()], tmp_path / "outcomes.parquet")
    schema = pq.read_schema(file)
    assert schema.names == [field.name for field in fields(Outcome)]
    assert (schema.field("seed").type, schema.field("nll_frozen").type) == (pa.int64(), pa.float32())
    [row] = pq.read_table(file).to_pylist()
    assert row["judges"][1]["top"] == [{"label": "church", "probability": pytest.approx(0.9)}]


def small(**changed: Any) -> Evaluation:
    """As it is after reading: shares are float32."""
    outcomes = from_table(Outcome, to_table(Outcome, [*erased(3), *kept("castle", "neighbours", 2)]))
    return evaluation(outcomes, **changed)


def test_an_evaluation_is_the_same_after_reading_it(tmp_path: Path) -> None:
    before = small(answered=(AnsweredQuestion("1", "7", "others", "present", True, False),), test_openings=3)
    after = Evaluation.load(before.save(tmp_path / "new" / "outcomes.parquet"))
    assert after == before
    assert after.json() == before.json() and str(after) == str(before)


def test_without_images_the_figures_stay_and_equal_evaluations_write_equal_bytes(tmp_path: Path) -> None:
    before = small()
    file, again = (before.save(tmp_path / name, images=False) for name in "ab")
    assert file.read_bytes() == again.read_bytes()
    after = Evaluation.load(file)
    assert after.json() == before.json()
    assert {(each.image, each.vq_ids) for each in after.outcomes} == {(b"", ())}
    with pytest.raises(DatasetError, match="these outcomes of church are without images"):
        after.save_contact_sheet(tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize("unsafe", [True, False])
def test_a_contact_sheet_blurs_the_erased_concept_and_retained_concepts_that_are_unsafe(
    unsafe: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, bool] = {}

    def comparison(labels: list[tuple[str, str]], *_: Any, blurred: list[bool], **__: Any) -> bytes:
        found.update(zip([concept for concept, _ in labels], blurred, strict=True))
        return b""

    monkeypatch.setattr(contact_sheet, "comparison", comparison)
    outcomes = [*erased(1), *kept("castle", "neighbours", 1), *kept("Nudity", "unrehearsed", 1)]
    evaluation(outcomes, unsafe=unsafe).save_contact_sheet(tmp_path / "sheet.png")
    assert found == {"church": unsafe, "castle": False, "Nudity": True}


def refused(file: Path) -> str:
    """The line with which reading an evaluation from ``file`` is refused."""
    with pytest.raises(DatasetError) as raised:
        Evaluation.load(file)
    line = str(raised.value)
    assert "\n" not in line and str(file) in line and "ear eval --outcomes" in line
    return line


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no file" in refused(tmp_path / "nothing.parquet")
    assert "there is no file" in refused(tmp_path)


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    file = tmp_path / "outcomes.parquet"
    file.write_text("id,prompt\n")
    assert "is not a readable Parquet file" in refused(file)
    whole = small().save(tmp_path / "whole.parquet").read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert "is not a readable Parquet file" in refused(file)


def test_a_file_of_an_earlier_version_names_the_surrogate_by_its_label(tmp_path: Path) -> None:
    file = write_outcomes([outcome(surrogate_label=None)], tmp_path / "outcomes.parquet")
    assert read_outcomes(file)[0][0].surrogate_label is None
    pq.write_table(pq.read_table(file).drop_columns(["surrogate_label"]), file)
    assert read_outcomes(file)[0][0].surrogate_label == "hotel"


@pytest.mark.parametrize("column", ["id", "judges", "nll_frozen", "image"])
def test_a_missing_column(tmp_path: Path, column: str) -> None:
    file = small().save(tmp_path / "outcomes.parquet")
    pq.write_table(pq.read_table(file).drop_columns([column]), file)
    assert f"has no column '{column}'" in refused(file)


def test_a_column_of_another_type(tmp_path: Path) -> None:
    table = pq.read_table(small().save(tmp_path / "outcomes.parquet"))
    judges = pa.array(["church"] * len(table))
    file = tmp_path / "other.parquet"
    pq.write_table(table.set_column(table.schema.get_field_index("judges"), "judges", judges), file)
    assert "its columns are not those" in refused(file)


def test_a_file_without_facts(tmp_path: Path) -> None:
    file = tmp_path / "outcomes.parquet"
    assert read_outcomes(write_outcomes(erased(1), file))[1] == {}
    assert "`ear eval --outcomes` did not write it" in refused(file)


@pytest.mark.parametrize("missing", ["command", "origin", "judges"])
def test_a_file_of_an_earlier_version(tmp_path: Path, missing: str) -> None:
    facts = read_outcomes(small().save(tmp_path / "outcomes.parquet"))[1]
    facts["origin"].pop(missing, None)
    facts.pop(missing, None)
    earlier = write_outcomes(erased(1), tmp_path / "earlier.parquet", facts)
    assert "not those that this version of `ear eval --outcomes` writes: measure again" in refused(earlier)


@pytest.mark.parametrize("facts", ["3", "[1]", '{"adapters": 3}', "{"])
def test_facts_that_are_damaged(tmp_path: Path, facts: str) -> None:
    file = small().save(tmp_path / "outcomes.parquet")
    table = pq.read_table(file)
    written = json.loads(table.schema.metadata[FACTS])
    changed = json.dumps({**written, **json.loads(facts)}) if facts.startswith('{"') else facts
    pq.write_table(table.replace_schema_metadata({FACTS: changed}), file)
    refused(file)


def test_outcomes_without_the_concept_after_erasing(tmp_path: Path) -> None:
    of_castle = evaluation(kept("castle", "neighbours", 2))
    assert "no outcome of church after erasing" in refused(of_castle.save(tmp_path / "outcomes.parquet"))


def test_an_outcome_after_belongs_to_that_before_with_its_prompt_seed_and_sampling() -> None:
    before = [outcome(0), outcome(1), outcome(1, seed=5), outcome(1, guidance=2.0)]
    after = [replace(each, condition="after") for each in reversed(before)]
    assert [first for first, _ in paired(before, after)] == before[::-1]
    two = [*after, *(replace(each, adapter="b" * 16) for each in after)]
    assert [second for _, second in paired(before, two)] == two
    with pytest.raises(DatasetError, match=r"no outcome of 'record-1' with seed 6 before erasing: .* other prompts or"):
        paired(before, [outcome(1, "after", seed=6)])
    with pytest.raises(
        DatasetError, match=r"no outcome of 'record-1' with seed .* before erasing: .* other prompts or"
    ):
        paired(before, [outcome(1, "after", prompt="another church")])
    ceiling, of_ceiling = outcome(1, "ceiling"), outcome(1, "after")
    assert paired([ceiling], [of_ceiling]) == [(ceiling, of_ceiling)]
