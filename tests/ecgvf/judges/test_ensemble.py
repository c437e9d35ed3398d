"""Several judges combined."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgvf.core import concepts
from ecgvf.core.errors import JudgeError
from ecgvf.core.records import Verdict
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import VERDICTS
from ecgvf.filter import filter_images
from ecgvf.judges import JudgeOptions, Prediction, create_judge
from ecgvf.judges.ensemble import Combine, Ensemble
from tests.ecgvf.small_run import ScriptedJudge, write_images

CHURCH = concepts.find("church")
GREY = np.full((8, 8, 3), 128, np.uint8)


def scripted(name: str, answers: list[bool]) -> ScriptedJudge:
    judge = ScriptedJudge(answers)
    judge.name = name
    judge.criterion = replace(judge.criterion, label_set=name)
    return judge


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=1, max_size=5))
def test_all_any_and_majority_decide_presence_and_score(members: list[tuple[bool, float]]) -> None:
    predictions = [Prediction(present, score, (("church", score),)) for present, score in members]
    judges = [scripted(f"judge-{number}", []) for number in range(len(members))]
    votes, scores = [present for present, _ in members], sorted(score for _, score in members)
    expected: dict[Combine, tuple[bool, float]] = {
        "all": (all(votes), scores[0]),
        "any": (any(votes), scores[-1]),
        "majority": (2 * sum(votes) > len(votes), scores[(len(scores) - 1) // 2]),
    }
    assert set(expected) == set(get_args(Combine))
    for combine, (present, score) in expected.items():
        combined = Ensemble(judges, combine).combined(predictions)
        assert (combined.present, combined.score) == (present, score)
        assert combined.top_labels == tuple(
            (f"judge-{number}: church", score) for number, (_, score) in enumerate(members)
        )


def test_names_joined_by_plus_create_an_ensemble() -> None:
    judge = create_judge(CHURCH, "janus-pro-1b", "resnet50+torchvision:squeezenet1_1", JudgeOptions(combine="any"))
    assert isinstance(judge, Ensemble)
    assert (judge.name, judge.combine) == ("resnet50+torchvision:squeezenet1_1", "any")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet50+resnet50", JudgeOptions(), "repeats a name"),
        ("resnet50+none", JudgeOptions(), "unknown judge 'none'"),
        ("resnet50+style", JudgeOptions(threshold=0.5), "--threshold has a different meaning"),
        ("resnet50+style", JudgeOptions(combine="most"), "--combine 'most'"),
        ("resnet50+style", JudgeOptions(weights="V1"), "NAME=WEIGHTS"),
    ],
)
def test_bad_input(name: str, options: JudgeOptions, message: str) -> None:
    with pytest.raises(JudgeError, match=message):
        create_judge(CHURCH, "janus-pro-1b", name, options)


def test_each_member_keeps_its_own_verdicts(run: ConceptRun) -> None:
    write_images(run.store, CHURCH, [(GREY, GREY)] * 2)
    filter_images(run, judge=scripted("first", [True, False, True, False]))
    # The first judge has verdicts already, so it predicts nothing again.
    both = filter_images(run, judge=Ensemble([scripted("first", []), scripted("second", [True, False, False, False])]))
    assert (both.judge, both.accepted["train"]) == ("first+second", 1)
    names = [verdicts.settings["judge"] for verdicts in run.sets(VERDICTS)]
    assert names == ["first", "second", "first+second"]
    combined = run.current(VERDICTS).records(Verdict)
    assert [verdict.present for verdict in combined] == [True, False, False, False]
    assert combined[0].label_set == "first+second" and combined[0].top_labels[0][0] == "first: church"
    either = filter_images(run, judge=Ensemble([scripted("first", []), scripted("second", [])], "any"))
    assert either.accepted["train"] == 2


def test_an_ensemble_fails_on_an_image_if_a_member_fails(run: ConceptRun) -> None:
    class Failing(ScriptedJudge):
        name = "failing"

        def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
            raise ValueError("no prediction")

    write_images(run.store, CHURCH, [(GREY, GREY)])
    result = filter_images(run, judge=Ensemble([scripted("first", [True, False]), Failing([])]))
    assert result.reasons == {"judge_failed": 1}
    assert run.current(VERDICTS).records(Verdict)[0].failure == "failing: no prediction"
