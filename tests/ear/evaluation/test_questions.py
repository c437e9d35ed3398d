"""Yes/no questions about images: a file's, checked row by row, and those of nano's world."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ear.evaluation.questions import FREQUENT, YesNoQuestion, nano_questions, read_questions
from ecgvf.core import concepts
from ecgvf.core.errors import DatasetError
from ecgvf.core.png import encode
from ecgvf.world.questions import load_questions

PNG = encode(np.zeros((8, 8, 3), np.uint8))
OTHER_PNG = encode(np.full((8, 8, 3), 255, np.uint8))
ROW = {"image": PNG, "question": "Is there a church?", "answer": "no", "about": "church", "kind": "absent_random"}


def write(file: Path, *rows: dict[str, Any]) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), file)
    return file


@pytest.fixture(scope="module")
def church() -> list[YesNoQuestion]:
    return nano_questions(concepts.find("church"))


def test_a_file_of_questions_is_read_in_order(tmp_path: Path) -> None:
    second = {"image": OTHER_PNG, "question": "Rot?", "answer": "yes", "about": "a red thing", "kind": "adversarial"}
    first, last, again = read_questions(write(tmp_path / "q.parquet", ROW, second, ROW))
    assert (first.id, last.id, again.id) == ("00001", "00002", "00003")
    assert (first.question, first.answer, first.kind) == (ROW["question"], False, "absent_random")
    assert (last.image, last.answer, last.kind) == (OTHER_PNG, True, "adversarial")
    assert first.image_id == again.image_id != last.image_id and first.image is again.image


def test_an_image_column_of_datasets_is_read_too(tmp_path: Path) -> None:
    plain, nested = write(tmp_path / "a", ROW), write(tmp_path / "b", ROW | {"image": {"bytes": PNG, "path": None}})
    assert read_questions(nested) == read_questions(plain)


@pytest.mark.parametrize("column", ROW)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    file = write(tmp_path / "q.parquet", {name: value for name, value in ROW.items() if name != column})
    with pytest.raises(DatasetError, match=f"q.parquet has no column '{column}': questions have image, question, "):
        read_questions(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": None}, "has a question without an image"),
        ({"image": b""}, "has a question without an image"),
        ({"image": b"not a picture"}, "has an image that cannot be read"),
        ({"image": PNG[:40]}, "has an image that cannot be read"),
        ({"answer": "maybe"}, "has the answer 'maybe': it must be 'yes' or 'no'"),
        ({"answer": None}, "has the answer None"),
        ({"question": " "}, "has no text in the column 'question'"),
        ({"about": None}, "has no text in the column 'about'"),
        ({"kind": None}, "has no text in the column 'kind'"),
        ({"answer": "yes"}, "is of the kind 'absent_random' with the answer 'yes'"),
    ],
)
def test_a_bad_row_is_named_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = write(tmp_path / "q.parquet", *[ROW] * 70, ROW | change)
    with pytest.raises(DatasetError, match=message) as error:
        read_questions(file)
    assert f"row 71 of {file}" in str(error.value) and "\n" not in str(error.value)


def test_files_without_questions_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([ROW]).slice(0, 0), tmp_path / "empty.parquet")
    (tmp_path / "text.parquet").write_text("a\nb")
    paths = write(tmp_path / "paths.parquet", ROW | {"image": "church.png"})
    for file, message in (
        (tmp_path / "empty.parquet", "has no questions"),
        (tmp_path / "text.parquet", "cannot read questions from"),
        (tmp_path / "nowhere.parquet", "cannot read questions from"),
        (tmp_path, "cannot read questions from"),
        (paths, "row 1 of .* has 'church.png' in the column 'image'"),
    ):
        with pytest.raises(DatasetError, match=message) as error:
            read_questions(file)
        assert "\n" not in str(error.value)


def test_each_of_nanos_images_has_a_question_of_every_kind(church: list[YesNoQuestion]) -> None:
    kinds = Counter(question.kind for question in church if question.about != "church" or question.answer)
    assert kinds["absent_frequent"] == 256 and kinds["present"] >= 256 and kinds["absent_random"] >= 240
    assert len({question.id for question in church}) == len(church)
    assert len({question.image_id for question in church}) == 256
    shipped = {(row.image, row.question, row.answer == "Yes.") for row in load_questions() if row.kind == "yes_no"}
    assert shipped < {(question.image, question.question, question.answer) for question in church}


def test_nanos_answers_follow_from_the_scenes(church: list[YesNoQuestion]) -> None:
    scenes = {row.image: {row.thing, row.companion} for row in load_questions()}
    counts = Counter(name for shown in scenes.values() for name in shown if name is not None)
    for question in church:
        shown = scenes[question.image]
        assert question.answer == (question.about in shown) == (question.kind == "present")
        assert f" {question.about}" in question.question
        if question.kind == "absent_frequent":
            assert sum(count > counts[question.about] for name, count in counts.items() if name not in shown) < FREQUENT


def test_the_concept_is_asked_about_in_every_image_and_others_are_asked_the_same(church: list[YesNoQuestion]) -> None:
    assert Counter(question.answer for question in church if question.about == "church") == {True: 8, False: 248}
    castle = nano_questions(concepts.find("castle"))
    assert nano_questions(concepts.find("castle")) == castle
    erased = {"church", "castle"}
    assert {row.id: row for row in church if row.about not in erased} == {
        row.id: row for row in castle if row.about not in erased
    }
    style = nano_questions(concepts.find("van-gogh"))
    assert len(style) == 768 and {row.id for row in style} < {row.id for row in church}


def test_about_is_the_concept_by_name_term_or_label() -> None:
    question = YesNoQuestion("1", "0", PNG, "Is it?", False, "", "absent_random")
    church, van_gogh = concepts.find("church"), concepts.find("van-gogh")
    for about, concept, expected in (
        ("church", church, True),
        ("Churches", church, True),
        ("a chapel", church, True),
        ("kirk", church, True),
        ("mosque", church, False),
        ("churchill", church, False),
        ("van-gogh", van_gogh, True),
        ("Van Gogh", van_gogh, True),
        ("van", van_gogh, False),
    ):
        asked = replace(question, about=about)
        assert asked.is_about(concept) == expected, about
