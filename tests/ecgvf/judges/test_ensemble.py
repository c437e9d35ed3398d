"""Several judges at once, and two of them compared."""

import itertools
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core import concepts
from ecgvf.core.errors import JudgeError, SettingsError
from ecgvf.core.records import Verdict
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import VERDICTS
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.filter import stage as stage
from ecgvf.filter.compare import agreement, compare_verdicts
from ecgvf.judges import Criterion, JudgeOptions, Prediction, create_judge
from ecgvf.judges.ensemble import Combine, Ensemble
from tests.ecgvf.small_run import Oracle, write_pictures

CHURCH = concepts.find("church")
GREY = np.full((8, 8, 3), 128, np.uint8)


def oracle(name: str, answers: list[bool]) -> Oracle:
    judge = Oracle(answers)
    judge.name = name
    judge.criterion = replace(judge.criterion, label_set=name)
    return judge


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_all_any_and_majority_mean_what_they_say(said: list[bool]) -> None:
    readings = [Prediction(present=there, score=0.25 + 0.5 * there, top_labels=()) for there in said]
    judges = [oracle(str(number), []) for number in range(len(said))]
    expected = {"all": all(said), "any": any(said), "majority": 2 * sum(said) > len(said)}
    for combine in get_args(Combine):
        assert Ensemble(judges, combine).agree(readings).present == expected[combine]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=1, max_size=5))
def test_the_score_of_several_is_one_of_theirs(said: list[tuple[bool, float]]) -> None:
    readings = [Prediction(present=there, score=score, top_labels=(("church", score),)) for there, score in said]
    scores = [score for _, score in said]
    judges = [oracle(f"judge-{number}", []) for number in range(len(said))]
    assert Ensemble(judges, "all").agree(readings).score == min(scores)
    assert Ensemble(judges, "any").agree(readings).score == max(scores)
    assert Ensemble(judges, "majority").agree(readings).score in scores
    assert len(Ensemble(judges, "all").agree(readings).top_labels) == len(said)


def test_several_judges_are_named_with_a_plus() -> None:
    judge = create_judge(CHURCH, "janus-pro-1b", "resnet50+torchvision:squeezenet1_1", JudgeOptions(combine="any"))
    assert isinstance(judge, Ensemble)
    assert (judge.name, judge.combine) == ("resnet50+torchvision:squeezenet1_1", "any")
    for wrong, said in (
        ("resnet50+resnet50", JudgeOptions()),
        ("resnet50+none", JudgeOptions()),
        ("resnet50+style", JudgeOptions(threshold=0.5)),
        ("resnet50+style", JudgeOptions(combine="most")),
        ("resnet50+style", JudgeOptions(weights="V1")),
    ):
        with pytest.raises(JudgeError):
            create_judge(CHURCH, "janus-pro-1b", wrong, said)


def run(store: Store, monkeypatch: pytest.MonkeyPatch, *judges: Oracle, combine: Combine = "all") -> stage.FilterResult:
    chosen = judges[0] if len(judges) == 1 else Ensemble(judges, combine)
    monkeypatch.setattr(stage, "create_judge", lambda *_: chosen)
    return filter_images(ConceptRun(store, CHURCH))


def test_each_of_several_judges_keeps_its_own_verdicts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(store, CHURCH, [(GREY, GREY)] * 2)
    run(store, monkeypatch, oracle("one", [True, False, True, False]))
    # The first has looked already: it is not asked again.
    both = run(store, monkeypatch, oracle("one", []), oracle("two", [True, False, False, False]))
    assert (both.judge, both.accepted_pairs) == ("one+two", 1)
    sets = ConceptRun.load(store, "church").sets(VERDICTS)
    assert [one.settings["judge"] for one in sets] == ["one", "two", "one+two"]
    together = ConceptRun.load(store, "church").current(VERDICTS).records(Verdict)
    assert [one.present for one in together] == [True, False, False, False]
    assert together[0].label_set == "one+two" and together[0].top_labels[0][0] == "one: church"
    assert run(store, monkeypatch, oracle("one", []), oracle("two", []), combine="any").accepted_pairs == 2


def test_what_one_of_several_fails_on_has_failed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(store, CHURCH, [(GREY, GREY)])
    blind = oracle("blind", [])
    monkeypatch.setattr(blind, "look", lambda images: (_ for _ in ()).throw(ValueError("blind")), raising=False)
    done = run(store, monkeypatch, oracle("one", [True, False]), blind)
    assert done.reasons == {"judge_failed": 1}
    assert ConceptRun.load(store, "church").current(VERDICTS).records(Verdict)[0].failure == "blind: blind"


# Comparing


def test_kappa_of_a_table_worked_by_hand() -> None:
    # 20 both yes, 5 only the first, 10 only the second, 15 both no: po = 0.7, pe = 0.5, kappa = 0.4.
    one = [True] * 25 + [False] * 25
    other = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    found = agreement(one, other)
    assert (found.share.n, found.same) == (50, 35)
    assert found.kappa.value == pytest.approx(0.4)
    assert found.share.low < 0.7 < found.share.high
    assert found.kappa.low < 0.4 < found.kappa.high


def test_kappa_is_undefined_where_chance_alone_agrees() -> None:
    assert agreement([], []).json()["kappa"]["value"] is None
    assert agreement([True, True], [True, True]).json()["kappa"]["value"] is None
    assert agreement([True, False], [True, False]).kappa.value == 1
    assert agreement([True, False], [False, True]).kappa.value == -1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=20))
def test_agreement_does_not_depend_on_who_is_first(said: list[tuple[bool, bool]]) -> None:
    one, other = [a for a, _ in said], [b for _, b in said]
    assert agreement(one, other).json() == agreement(other, one).json()


def test_two_judges_are_compared_picture_by_picture(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(store, CHURCH, [(GREY, GREY)] * 2)
    with monkeypatch.context() as patch:
        run(store, patch, oracle("one", [True, False, True, False]))
    with pytest.raises(SettingsError, match="only one judge"):
        compare_verdicts(ConceptRun(store, CHURCH))
    run(store, monkeypatch, oracle("two", [True, True, False, False]))
    found = compare_verdicts(ConceptRun(store, CHURCH))
    assert [verdicts.settings["judge"] for verdicts in found.sets] == ["two", "one"]
    assert (found.agreement.share.n, found.agreement.same) == (4, 2)
    assert [(case.role, case.prompt, case.verdicts[0].present) for case in found.disputes] == [
        ("surrogate", "a hotel by lake 0", True),
        ("target", "a church by lake 1", False),
    ]
    names = found.sets[0].fingerprint[:8], found.sets[1].fingerprint[:8]
    assert compare_verdicts(ConceptRun(store, CHURCH), names).agreement == found.agreement


def test_verdicts_on_other_pictures_are_not_compared(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = []
    for seed in range(2):
        write_pictures(store, CHURCH, [(GREY, GREY)], seed=seed)
        run(store, monkeypatch, oracle("one", [True, False]))
        sets.append(ConceptRun.load(store, "church").current(VERDICTS).fingerprint)
    with pytest.raises(SettingsError, match="other pictures"):
        compare_verdicts(ConceptRun(store, CHURCH), (sets[0], sets[1]))


def test_settings_of_a_judge_open_another_set(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(store, CHURCH, [(GREY, GREY)])
    usual = Criterion(label_set="oracle", accepted=("church",), top_k=1)
    changed = [
        usual,
        replace(usual, label_set="strict"),
        replace(usual, accepted=("church", "dome")),
        replace(usual, top_k=3),
        replace(usual, threshold=0.5),
    ]
    for criterion, weights in itertools.chain(((one, "0") for one in changed), [(usual, "1")]):
        judge = Oracle([True, False])
        judge.criterion, judge.weights_hash = criterion, weights
        run(store, monkeypatch, judge)
    assert len(ConceptRun.load(store, "church").sets(VERDICTS)) == 6
