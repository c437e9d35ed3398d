from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core.records import (
    SPLITS,
    WORDINGS,
    Acceptance,
    PromptPair,
    Record,
    Rendering,
    Verdict,
    from_table,
    malformed_id,
    record_id,
    to_table,
)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scores = st.floats(0, 1, width=32)
roles = st.sampled_from(["target", "surrogate"])

pairs = st.builds(
    PromptPair,
    record_id=words,
    concept=words,
    kind=words,
    split=st.sampled_from(SPLITS),
    target=words,
    surrogate=st.none() | words,
    target_term=words,
    surrogate_term=st.none() | words,
    writer=words,
    model_asked=words,
    model_answered=words,
    template=words,
    template_hash=words,
    iteration=st.integers(0, 2**31 - 1),
    call_id=words,
    reason=st.sampled_from([None, "malformed", "duplicate"]),
    detail=st.none() | words,
    wording=st.none() | st.sampled_from(WORDINGS),
    retained_concept=st.none() | words,
)
renderings = st.builds(
    Rendering,
    record_id=words,
    role=roles,
    seed=st.integers(0, 2**63 - 1),
    renderer=words,
    prompt_sent=words,
    image=st.binary(max_size=20),
    vq_ids=st.lists(st.integers(0, 2**16 - 1), max_size=9).map(tuple),
    failure=st.none() | words,
)
verdicts = st.builds(
    Verdict,
    record_id=words,
    role=roles,
    judge=words,
    judge_hash=words,
    present=st.booleans(),
    score=scores,
    top_labels=st.lists(st.tuples(words, scores), max_size=3).map(tuple),
    failure=st.none() | words,
)
acceptances = st.builds(
    Acceptance, record_id=words, accepted=st.booleans(), reason=st.sampled_from([None, "target_absent", "judge_failed"])
)


@given(st.lists(pairs, max_size=3))
def test_pairs_come_back_from_a_table(records: list[PromptPair]) -> None:
    assert from_table(PromptPair, to_table(PromptPair, records)) == records


@given(st.lists(renderings, max_size=3))
def test_renderings_come_back_from_a_table(records: list[Rendering]) -> None:
    assert from_table(Rendering, to_table(Rendering, records)) == records


@given(st.lists(verdicts, max_size=3))
def test_verdicts_come_back_from_a_table(records: list[Verdict]) -> None:
    assert from_table(Verdict, to_table(Verdict, records)) == records


@given(st.one_of(pairs, renderings, verdicts, acceptances))
def test_a_column_of_a_later_version_is_ignored(record: Record) -> None:
    table = to_table(type(record), [record]).append_column("later", pa.array([1]))
    assert from_table(type(record), table) == [record]


@given(st.lists(acceptances, max_size=3))
def test_acceptances_come_back_from_a_table(records: list[Acceptance]) -> None:
    assert from_table(Acceptance, to_table(Acceptance, records)) == records


def test_pairs_of_a_store_from_before_there_were_classes_load(pair: Callable[..., PromptPair]) -> None:
    older = to_table(PromptPair, [pair(split="test", surrogate=None)]).drop_columns(["wording"])
    [loaded] = from_table(PromptPair, older)
    assert (loaded.split, loaded.wording) == ("test", None)


def test_only_the_target_of_an_evaluation_record_is_judged(pair: Callable[..., PromptPair]) -> None:
    assert pair().judged_roles() == ["target", "surrogate"]
    assert pair(split="validation").judged_roles() == pair(split="test").judged_roles() == ["target"]


SCHEMAS: dict[type[Record], pa.Schema] = {
    PromptPair: pa.schema(
        [
            pa.field("record_id", pa.string(), nullable=False),
            pa.field("concept", pa.string(), nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("target", pa.string(), nullable=False),
            pa.field("surrogate", pa.string()),
            pa.field("target_term", pa.string(), nullable=False),
            pa.field("surrogate_term", pa.string()),
            pa.field("writer", pa.string(), nullable=False),
            pa.field("model_asked", pa.string(), nullable=False),
            pa.field("model_answered", pa.string(), nullable=False),
            pa.field("template", pa.string(), nullable=False),
            pa.field("template_hash", pa.string(), nullable=False),
            pa.field("iteration", pa.int32(), nullable=False),
            pa.field("call_id", pa.string(), nullable=False),
            pa.field("reason", pa.string()),
            pa.field("detail", pa.string()),
            pa.field("source_id", pa.string()),
            pa.field("seed", pa.int64()),
            pa.field("wording", pa.string()),
            pa.field("retained_concept", pa.string()),
        ]
    ),
    Rendering: pa.schema(
        [
            pa.field("record_id", pa.string(), nullable=False),
            pa.field("role", pa.string(), nullable=False),
            pa.field("seed", pa.int64(), nullable=False),
            pa.field("renderer", pa.string(), nullable=False),
            pa.field("prompt_sent", pa.string(), nullable=False),
            pa.field("image", pa.binary(), nullable=False),
            pa.field("vq_ids", pa.list_(pa.uint16()), nullable=False),
            pa.field("failure", pa.string()),
        ]
    ),
    Verdict: pa.schema(
        [
            pa.field("record_id", pa.string(), nullable=False),
            pa.field("role", pa.string(), nullable=False),
            pa.field("judge", pa.string(), nullable=False),
            pa.field("judge_hash", pa.string(), nullable=False),
            pa.field("label_set", pa.string(), nullable=False),
            pa.field("threshold", pa.float64()),
            pa.field("present", pa.bool_(), nullable=False),
            pa.field("score", pa.float32(), nullable=False),
            pa.field(
                "top_labels", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())])), nullable=False
            ),
            pa.field(
                "boxes",
                pa.list_(
                    pa.struct(
                        [("label", pa.string()), ("score", pa.float32())]
                        + [(side, pa.int32()) for side in ("left", "top", "width", "height")]
                    )
                ),
                nullable=False,
            ),
            pa.field("failure", pa.string()),
        ]
    ),
    Acceptance: pa.schema(
        [
            pa.field("record_id", pa.string(), nullable=False),
            pa.field("accepted", pa.bool_(), nullable=False),
            pa.field("reason", pa.string()),
        ]
    ),
}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_columns_types_and_nullability_never_change_between_versions(kind: type[Record]) -> None:
    """Stores and published datasets hold these columns."""
    assert kind.SCHEMA.equals(SCHEMAS[kind], check_metadata=True)
    assert kind.SCHEMA.serialize().equals(SCHEMAS[kind].serialize())


def test_a_table_without_rows_keeps_its_schema() -> None:
    assert to_table(Verdict, []).schema == Verdict.SCHEMA


@given(words, words, st.none() | words)
def test_an_id_depends_on_concept_and_prompts_and_keeps_them_apart(one: str, two: str, three: str | None) -> None:
    made = record_id(one, two, three)
    assert len(made) == 16
    assert made == record_id(one, two, three)
    assert made != record_id(one + "x", two, three)
    assert made != record_id(one, "x" + two, three)


def test_no_surrogate_and_an_empty_one_are_two_things() -> None:
    assert record_id("church", "a church", None) != record_id("church", "a church", "")


def test_ids_of_malformed_answers_differ_by_position() -> None:
    assert len({malformed_id("call", position) for position in range(50)}) == 50


def test_a_records_id_never_changes_between_versions() -> None:
    """Published datasets hold these ids."""
    assert record_id("church", "a church", "a hotel") == "3a9cae50e02bc04d"


def test_tables_hold_vq_ids_in_two_bytes() -> None:
    assert Rendering.SCHEMA.field("vq_ids").type == pa.list_(pa.uint16())
