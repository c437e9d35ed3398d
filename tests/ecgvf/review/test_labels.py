"""The file of labels: what counts, and what survives an accident."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core.errors import SettingsError, StoreError
from ecgvf.review.labels import ANSWERS, Answer, ImageKey, LabelsFile

FIRST, SECOND = ImageKey("one", "before", 7, "aa"), ImageKey("one", "after", 7, "bb")


@pytest.fixture
def labels(tmp_path: Path) -> LabelsFile:
    return LabelsFile(tmp_path / "new" / "labels.jsonl")


def test_a_label_is_a_line_with_image_reviewer_and_time(labels: LabelsFile) -> None:
    labels.append(FIRST, "ada", "something else")
    line = json.loads(labels.path.read_text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", line.pop("time"))
    expected = {"id": "one", "condition": "before", "seed": 7, "image": "aa"}
    assert line == expected | {"label": "something else", "reviewer": "ada"}


def test_the_last_label_of_each_reviewer_counts(labels: LabelsFile) -> None:
    assert labels.read() == {}
    labels.append(FIRST, "ada", "concept")
    labels.append(FIRST, "bob", "nothing")
    labels.append(SECOND, "ada", "surrogate")
    labels.append(FIRST, "ada", "nothing")
    assert labels.read() == {"ada": {FIRST: "nothing", SECOND: "surrogate"}, "bob": {FIRST: "nothing"}}
    assert list(labels.read()["ada"]) == [SECOND, FIRST]  # the order in which they were given
    labels.append(FIRST, "bob", None)
    assert "bob" not in labels.read()


@given(st.lists(st.tuples(st.sampled_from([FIRST, SECOND]), st.sampled_from([None, *ANSWERS]))))
def test_any_sequence_of_labels_leaves_the_last(
    tmp_path_factory: pytest.TempPathFactory, given: list[tuple[ImageKey, Answer | None]]
) -> None:
    labels = LabelsFile(tmp_path_factory.mktemp("labels") / "labels.jsonl")
    for key, answer in given:
        labels.append(key, "ada", answer)
    last = {key: answer for key, answer in given if answer is not None and dict(given)[key] == answer}
    assert labels.read().get("ada", {}) == last


@pytest.mark.faults
def test_a_truncated_or_foreign_line_is_skipped_alone(labels: LabelsFile) -> None:
    labels.append(FIRST, "ada", "concept")
    line = json.loads(labels.path.read_text())
    with labels.path.open("ab") as file:
        for wrong in ({"label": "moose"}, {"label": []}, {"seed": "7"}, {"seed": True}, {"reviewer": None}, {"x": 1}):
            file.write(json.dumps(line | wrong).encode() + b"\n")
        file.write(b'[1]\n\xff\n{"time": "2026-')
    labels.append(SECOND, "ada", "nothing")
    assert labels.read() == {"ada": {FIRST: "concept", SECOND: "nothing"}}


@pytest.mark.faults
def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "outcomes.parquet"
    file.write_bytes(b"PAR1")
    with pytest.raises(SettingsError, match="something other than labels"):
        LabelsFile(file).check()
    assert file.read_bytes() == b"PAR1"
    with pytest.raises(SettingsError, match="is a folder"):
        LabelsFile(tmp_path).check()
    with pytest.raises(StoreError, match="cannot write"):
        LabelsFile(file / "labels.jsonl").check()
