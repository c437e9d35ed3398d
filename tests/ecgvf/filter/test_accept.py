import pytest

from ecgvf.core.records import Reason, Role, Split, Verdict
from ecgvf.filter.accept import accept_record
from tests.ecgvf.small_run import pair

PAIR = pair("a church by a lake", "a hotel by a lake")
TEST = pair("a church by a lake", None)


def verdict(role: Role, present: bool, failure: str | None = None) -> Verdict:
    return Verdict(
        record_id=PAIR.record_id,
        role=role,
        judge="judge",
        judge_hash="0",
        present=present,
        score=float(present),
        top_labels=(),
        failure=failure,
    )


@pytest.mark.parametrize(
    ("target", "surrogate", "reason"),
    [
        (True, False, None),
        (False, False, "target_absent"),
        (True, True, "concept_leaked"),
        (False, True, "target_absent"),
    ],
)
def test_a_pair_is_accepted_if_only_the_target_shows_the_concept(
    target: bool, surrogate: bool, reason: Reason | None
) -> None:
    verdicts: dict[Role, Verdict] = {"target": verdict("target", target), "surrogate": verdict("surrogate", surrogate)}
    row = accept_record(PAIR, verdicts)
    assert (row.accepted, row.reason) == (reason is None, reason)


@pytest.mark.parametrize(("present", "reason"), [(True, None), (False, "target_absent")])
def test_a_test_record_is_accepted_if_its_image_shows_the_concept(present: bool, reason: Reason | None) -> None:
    assert accept_record(TEST, {"target": verdict("target", present)}).reason == reason


@pytest.mark.parametrize("split", ["validation", "test"])
def test_of_an_evaluation_record_only_the_target_image_counts(split: Split) -> None:
    record = pair("a church by a lake", "a hotel by a lake", split=split)
    leaked: dict[Role, Verdict] = {"target": verdict("target", True), "surrogate": verdict("surrogate", True)}
    assert accept_record(record, leaked).reason is None
    assert accept_record(record, {"target": verdict("target", True)}).reason is None
    assert accept_record(record, {"surrogate": leaked["surrogate"]}).reason == "render_failed"
    absent: dict[Role, Verdict] = {"target": verdict("target", False), "surrogate": verdict("surrogate", False)}
    assert accept_record(record, absent).reason == "target_absent"


def test_failures_are_rejected_with_their_reason() -> None:
    verdicts: dict[Role, Verdict] = {"target": verdict("target", True), "surrogate": verdict("surrogate", False)}
    assert accept_record(PAIR, {"target": verdicts["target"]}).reason == "render_failed"
    failed: dict[Role, Verdict] = {**verdicts, "surrogate": verdict("surrogate", False, "unreadable image")}
    assert accept_record(PAIR, failed).reason == "judge_failed"


def test_a_reject_of_stage_1_keeps_its_reason() -> None:
    assert accept_record(pair("a church", "a chapel", "malformed"), {}).reason == "malformed"


def test_reviewers_overrule_everything_but_a_missing_image() -> None:
    verdicts: dict[Role, Verdict] = {"target": verdict("target", False), "surrogate": verdict("surrogate", False)}
    assert accept_record(PAIR, verdicts, objection="off_prompt", review=True).reason is None
    assert accept_record(PAIR, verdicts, review=False).reason == "reviewed"
    assert accept_record(PAIR, {"target": verdicts["target"]}, review=True).reason == "render_failed"
