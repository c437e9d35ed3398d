"""Several judges combined."""

from collections.abc import Sequence
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
from ecgvf.judges.ensemble import Combine, Ensemble, criteria, near_miss
from ecgvf.review.cases import Cases
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
def test_options_that_make_no_ensemble_are_refused(name: str, options: JudgeOptions, message: str) -> None:
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


class Seeing(ScriptedJudge):
    """Sees no church, but ``labels``, best first."""

    def __init__(self, name: str, labels: Sequence[str], top_k: int | None) -> None:
        super().__init__([])
        self.name, self.labels = name, labels
        self.criterion = replace(self.criterion, top_k=top_k)

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        return [Prediction(False, 0.0, tuple((label, 0.5) for label in self.labels)) for _ in images]


@pytest.mark.parametrize(
    ("ranking", "detecting", "expected"),
    [
        (["castle", "house"], ["castle"], "ranking: castle"),
        (["house", "castle"], ["house", "castle"], "detecting: castle"),
        (["house", "castle"], ["house"], None),
    ],
)
def test_a_near_miss_of_an_ensemble_is_that_of_a_judge(
    run: ConceptRun, ranking: list[str], detecting: list[str], expected: str | None
) -> None:
    write_images(run.store, CHURCH, [(GREY, GREY)])
    judge = Ensemble([Seeing("ranking", ranking, top_k=1), Seeing("detecting", detecting, top_k=None)])
    assert near_miss(criteria(judge), judge.predict(GREY[np.newaxis])[0].top_labels) == expected
    assert filter_images(run, judge=judge).near_misses == ({} if expected is None else {expected: 1})
    [case] = Cases(run).by_id.values()
    assert case.near_miss == expected


def test_an_ensemble_fails_on_an_image_if_a_member_fails(run: ConceptRun) -> None:
    class Failing(ScriptedJudge):
        name = "failing"

        def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
            raise ValueError("no prediction")

    write_images(run.store, CHURCH, [(GREY, GREY)])
    result = filter_images(run, judge=Ensemble([scripted("first", [True, False]), Failing([])]))
    assert result.reasons == {"judge_failed": 1}
    assert run.current(VERDICTS).records(Verdict)[0].failure == "failing: no prediction"
