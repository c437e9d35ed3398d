"""What is reported of labels: their shares, and how far the judges agree with them."""

from pathlib import Path
from typing import Any

import pytest

from ecgvf.core.errors import DatasetError
from ecgvf.review.agreement import JudgeAgreement, judge_agreement, label_shares
from ecgvf.review.images import ImageRows
from ecgvf.review.labels import Answer, ImageKey, Labels
from tests.ecgvf.small_outcomes import outcome, outcomes, verdict, write_outcomes


def rows(folder: Path, content: list[dict[str, Any]]) -> ImageRows:
    return ImageRows(write_outcomes(folder / "outcomes.parquet", content))


def given(images: ImageRows, answers: dict[tuple[str, str], Answer]) -> dict[ImageKey, Answer]:
    keys = [image.key for image in images.sample(None, 0, images.path.parent)]
    return {key: answers[key.id, key.condition] for key in keys if (key.id, key.condition) in answers}


def by_judge(found: list[JudgeAgreement], condition: str) -> dict[str, JudgeAgreement]:
    return {row.judge: row for row in found if row.condition == condition}


def test_a_judge_is_compared_by_condition_and_pooled(tmp_path: Path) -> None:
    # The judge sees a church before and a hotel after; the reviewer agrees on three of four.
    images = rows(tmp_path, outcomes(2))
    answers: dict[tuple[str, str], Answer] = {
        ("record-0", "before"): "concept",
        ("record-1", "before"): "concept",
        ("record-0", "after"): "surrogate",
        ("record-1", "after"): "nothing",
    }
    found = judge_agreement(images, {"ada": given(images, answers)})
    assert [(row.condition, row.agreement.same, row.agreement.kappa.n) for row in found] == [
        ("before", 2, 2),
        ("after", 1, 2),
        ("pooled", 3, 4),
    ]
    # po = 3/4, pe = (2 * 2 + 1 * 2) / 16 = 3/8: kappa = 3/5.
    assert found[-1].agreement.kappa.value == pytest.approx(0.6)
    assert found[0].json()["kappa"]["value"] is None  # chance alone agrees on everything


@pytest.mark.parametrize(
    ("label", "answer", "agrees"),
    [
        ("church", "concept", True),
        ("hotel", "surrogate", True),
        ("Hotels", "surrogate", True),
        ("hotel", "concept", False),
        ("castle", "something else", True),
        ("castle", "nothing", True),
        ("nothing", "nothing", True),
        ("castle", "surrogate", False),
        ("motor hotel", "surrogate", False),
    ],
)
def test_judge_and_reviewer_agree_on_concept_surrogate_or_neither(
    tmp_path: Path, label: str, answer: Answer, agrees: bool
) -> None:
    images = rows(tmp_path, [outcome(0, "after", judges=[verdict("one", label)])])
    found = judge_agreement(images, {"ada": given(images, {("record-0", "after"): answer})})
    assert {row.condition: row.agreement.same for row in found} == {"after": agrees, "pooled": agrees}


def test_a_label_of_several_words_names_its_surrogate(tmp_path: Path) -> None:
    content = [outcome(0, "after", surrogate="wind turbine", judges=[verdict("one", "wind-turbine")])]
    images = rows(tmp_path, content)
    found = judge_agreement(images, {"ada": given(images, {("record-0", "after"): "surrogate"})})
    assert found[-1].agreement.same == 1


def test_each_judge_is_compared_on_the_images_that_it_judged(tmp_path: Path) -> None:
    judged = [verdict("one", "church"), verdict("two", "hotel")]
    content = [outcome(0, "after", judges=judged), outcome(1, "after", judges=None), outcome(2, "after")]
    images = rows(tmp_path, content)
    labels: Labels = {"ada": given(images, {(f"record-{number}", "after"): "concept" for number in range(3)})}
    pooled = by_judge(judge_agreement(images, labels), "pooled")
    assert {judge: (row.agreement.same, row.agreement.kappa.n) for judge, row in pooled.items()} == {
        "one": (1, 2),
        "two": (0, 1),
    }


def test_labels_of_other_images_do_not_count(tmp_path: Path) -> None:
    images = rows(tmp_path, outcomes(1))
    other = ImageKey("record-0", "after", 2**62, "0" * 64)
    labels: Labels = {"ada": {other: "nothing"}}
    assert judge_agreement(images, labels) == [] and label_shares(images, labels) == []


def test_shares_of_labels_have_their_sample_size(tmp_path: Path) -> None:
    images = rows(tmp_path, outcomes(2))
    labels: Labels = {"ada": given(images, {("record-0", "before"): "concept", ("record-1", "after"): "nothing"})}
    shares = {(row.condition, row.label): (row.share.value, row.share.n) for row in label_shares(images, labels)}
    assert shares["before", "concept"] == (1, 1) and shares["after", "concept"] == (0, 1)
    assert shares["after", "nothing"] == (1, 1) and len(shares) == 8


def test_verdicts_of_another_form_are_one_line(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "other.parquet"
    for judges in ("one: church", [{"name": "one"}], [{"judge": "one", "present": False, "top": ["hotel"]}]):
        pq.write_table(pa.Table.from_pylist([outcome(0, "after", judges=judges)]), file)
        images = ImageRows(file)
        with pytest.raises(DatasetError, match="the column 'judges' needs"):
            judge_agreement(images, {"ada": given(images, {("record-0", "after"): "concept"})})
