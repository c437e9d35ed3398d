"""The questions that ship in ``data/nano/questions.parquet``."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ecgvf.core import png
from ecgvf.core.errors import SettingsError
from ecgvf.world.grammar import held_out
from ecgvf.world.questions import ImageQuestion, load_questions, questions_path
from tools.nano import question_set, vision
from tools.nano.__main__ import questions
from tools.nano.questions import OPEN_QUESTIONS, open_question
from tools.nano.world import STYLES, Scene, things


@pytest.fixture(scope="module")
def shipped() -> list[ImageQuestion]:
    return load_questions()


@pytest.fixture(scope="module")
def regenerated() -> list[ImageQuestion]:
    return list(islice(question_set.rows(), 14))


def combination(row: ImageQuestion) -> tuple[str, str, str, str | None, str]:
    return row.thing, row.sky, row.ground, row.companion, row.style


def test_there_are_256_distinct_images_of_held_out_scenes(shipped: list[ImageQuestion]) -> None:
    images = {row.image_id: row.image for row in shipped}
    assert len(images) == len(set(images.values())) == 256
    assert all(png.decode(image).shape == (64, 64, 3) for image in images.values())
    assert all(held_out(*combination(row)) for row in shipped)


def test_each_image_has_one_scene_and_each_kind_of_question(shipped: list[ImageQuestion]) -> None:
    for number in range(256):
        rows = shipped[7 * number : 7 * number + 7]
        assert {row.image_id for row in rows} == {f"{number:03}"}
        assert len({(row.image, combination(row)) for row in rows}) == 1
        assert [row.kind for row in rows] == ["yes_no", "yes_no", *OPEN_QUESTIONS]


def test_things_styles_and_answers_are_balanced(shipped: list[ImageQuestion]) -> None:
    assert Counter(row.thing for row in shipped) == dict.fromkeys(things(), 8 * 7)
    assert set(Counter(row.style for row in shipped).values()) == {51 * 7, 52 * 7}
    assert {row.style for row in shipped} == set(STYLES)
    assert Counter(row.answer for row in shipped if row.kind == "yes_no") == {"Yes.": 256, "No.": 256}


def test_answers_match_the_scene(shipped: list[ImageQuestion]) -> None:
    for row in shipped:
        if row.kind == "yes_no":
            assert row.about is not None and row.about in row.question
            assert row.answer == ("Yes." if row.about in (row.thing, row.companion) else "No.")
        else:
            scene = Scene(row.thing, "noto", row.sky, row.ground, row.companion, row.style)
            expected = open_question(scene, row.kind)
            assert (row.question, row.answer, row.about) == (expected.text, expected.answer, None)


def test_scenes_are_not_in_the_vision_towers_training_pool() -> None:
    scenes = question_set.sample_scenes(question_set.generator(seed=0))
    assert len(set(scenes)) == 256
    assert not set(scenes) & set(vision.training_pool())


def test_regenerated_rows_equal_the_shipped_ones(
    shipped: list[ImageQuestion], regenerated: list[ImageQuestion]
) -> None:
    assert len(regenerated) == 14
    for row, again in zip(shipped, regenerated, strict=False):
        assert (row.image_id, row.question, row.answer, row.kind, row.about) == (
            again.image_id, again.question, again.answer, again.kind, again.about,
        )  # fmt: skip
        assert combination(row) == combination(again)
        assert np.array_equal(png.decode(row.image), png.decode(again.image))


def test_questions_of_another_seed_need_a_file_of_their_own(tmp_path: Path) -> None:
    before = questions_path().stat().st_mtime_ns
    with pytest.raises(SettingsError, match="--seed 1 would replace the questions that ship"):
        questions(seed=1)
    assert questions_path().stat().st_mtime_ns == before


def test_the_shipped_file_can_be_written_again(shipped: list[ImageQuestion], tmp_path: Path) -> None:
    file = tmp_path / "questions.parquet"
    assert question_set.write(file) == len(shipped) == pq.read_table(file).num_rows
    assert pq.read_table(file, columns=["image_id", "question", "answer"]) == pq.read_table(
        questions_path(), columns=["image_id", "question", "answer"]
    )
    assert list(tmp_path.iterdir()) == [file]
