"""How far two judges agree on the same images."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core.errors import SettingsError
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import VERDICTS
from ecgvf.filter import filter_images
from ecgvf.filter.compare import agreement, compare_verdicts
from ecgvf.judges import Criterion
from ecgvf.judges.ensemble import Ensemble
from tests.ecgvf.small_run import ScriptedJudge, write_images

GREY = np.full((8, 8, 3), 128, np.uint8)


def judge(run: ConceptRun, name: str, answers: list[bool]) -> str:
    """Filter with given answers; the fingerprint of the verdicts."""
    scripted = ScriptedJudge(answers)
    scripted.name = name
    filter_images(run, judge=scripted)
    return run.current(VERDICTS).fingerprint


def test_kappa_of_a_table_worked_by_hand() -> None:
    # 20 both yes, 5 only the first, 10 only the second, 15 both no: po = 0.7, pe = 0.5, kappa = 0.4.
    first = [True] * 25 + [False] * 25
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    found = agreement(first, second)
    assert (found.share.n, found.same) == (50, 35)
    assert found.share.low < found.share.value == 0.7 < found.share.high
    assert found.kappa.value == pytest.approx(0.4)
    assert found.kappa.low < 0.4 < found.kappa.high


def test_kappa_of_several_labels_worked_by_hand() -> None:
    # po = 3/5; pe = (2 * 2 + 2 * 1 + 1 * 2) / 25 = 8/25; kappa = (15 - 8) / (25 - 8).
    found = agreement(["a", "a", "b", "b", "c"], ["a", "c", "a", "b", "c"])
    assert (found.same, found.kappa.value) == (3, pytest.approx(7 / 17))


def test_kappa_is_undefined_if_chance_alone_agrees() -> None:
    assert agreement([], []).kappa.json()["value"] is None
    assert agreement([True, True], [True, True]).kappa.json()["value"] is None
    assert agreement([True, False], [True, False]).kappa.value == 1
    assert agreement([True, False], [False, True]).kappa.value == -1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=20))
def test_agreement_is_symmetric(answers: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in answers], [b for _, b in answers]
    assert agreement(first, second).json() == agreement(second, first).json()


def test_two_judges_are_compared_image_by_image(run: ConceptRun) -> None:
    write_images(run.store, run.concept, [(GREY, GREY)] * 2)
    judge(run, "earlier", [True, False, True, False])
    with pytest.raises(SettingsError, match="only one judge"):
        compare_verdicts(run)
    judge(run, "later", [True, True, False, False])
    found = compare_verdicts(run)
    assert [verdicts.settings["judge"] for verdicts in found.sets] == ["later", "earlier"]
    assert (found.agreement.share.n, found.agreement.same) == (4, 2)
    assert [(dispute.role, dispute.prompt, dispute.verdicts[0].present) for dispute in found.disputes] == [
        ("surrogate", "a hotel by lake 0", True),
        ("target", "a church by lake 1", False),
    ]
    first, second = (verdicts.fingerprint[:8] for verdicts in found.sets)
    assert compare_verdicts(run, (first, second)).agreement == found.agreement


def test_an_ensemble_is_not_compared_with_its_own_members(run: ConceptRun) -> None:
    write_images(run.store, run.concept, [(GREY, GREY)])
    judge(run, "earlier", [True, False])
    members = [ScriptedJudge([True, False]), ScriptedJudge([True, True])]
    members[1].name = "second"
    filter_images(run, judge=Ensemble(members))
    assert [verdicts.settings["judge"] for verdicts in compare_verdicts(run).sets] == ["scripted+second", "earlier"]


def test_verdicts_on_different_images_are_not_compared(run: ConceptRun) -> None:
    sets = []
    for seed in range(2):
        write_images(run.store, run.concept, [(GREY, GREY)], seed=seed)
        sets.append(judge(run, "judge", [True, False]))
    with pytest.raises(SettingsError, match="different images"):
        compare_verdicts(run, (sets[0], sets[1]))


def test_each_setting_of_a_judge_opens_another_set(run: ConceptRun) -> None:
    write_images(run.store, run.concept, [(GREY, GREY)])
    criterion = Criterion(label_set="scripted", accepted=("church",), top_k=1)
    for changed, weights_hash in (
        (criterion, "0"),
        (replace(criterion, label_set="strict"), "0"),
        (replace(criterion, accepted=("church", "dome")), "0"),
        (replace(criterion, top_k=3), "0"),
        (replace(criterion, threshold=0.5), "0"),
        (criterion, "1"),
    ):
        scripted = ScriptedJudge([True, False])
        scripted.criterion, scripted.weights_hash = changed, weights_hash
        filter_images(run, judge=scripted)
    assert len(run.sets(VERDICTS)) == 6
