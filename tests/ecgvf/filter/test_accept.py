import pytest

from ecgvf.core.records import Reason, Role, Verdict
from ecgvf.filter.accept import accept
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
def test_a_pair_holds_with_the_concept_in_the_target_only(target: bool, surrogate: bool, reason: Reason | None) -> None:
    verdicts: dict[Role, Verdict] = {"target": verdict("target", target), "surrogate": verdict("surrogate", surrogate)}
    decision = accept(PAIR, {"target", "surrogate"}, verdicts)
    assert (decision.accepted, decision.reason) == (reason is None, reason)


@pytest.mark.parametrize(("present", "reason"), [(True, None), (False, "target_absent")])
def test_a_test_record_holds_when_the_concept_is_in_its_picture(present: bool, reason: Reason | None) -> None:
    assert accept(TEST, {"target"}, {"target": verdict("target", present)}).reason == reason


def test_what_failed_is_rejected_with_its_reason() -> None:
    seen: dict[Role, Verdict] = {"target": verdict("target", True), "surrogate": verdict("surrogate", False)}
    assert accept(PAIR, {"target"}, seen).reason == "render_failed"
    assert accept(PAIR, {"target", "surrogate"}, {"target": seen["target"]}).reason == "judge_failed"
    broken: dict[Role, Verdict] = {**seen, "surrogate": verdict("surrogate", False, "no picture")}
    assert accept(PAIR, {"target", "surrogate"}, broken).reason == "judge_failed"


def test_stage_1s_reason_stays() -> None:
    assert accept(pair("a church", "a chapel", "malformed"), set(), {}).reason == "malformed"
