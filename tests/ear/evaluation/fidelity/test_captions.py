"""Captions and pictures are joined by id, whatever the order of the file and of the folder."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from ear.evaluation.fidelity import captions as captions_module
from ear.evaluation.fidelity.captions import nano_captions, read_captions
from ear.evaluation.fidelity.released_protocol import file_name_order, texts_by_file_name
from ecgvf.core.errors import DatasetError
from ecgvf.core.png import decode, encode
from ecgvf.world.attributes import find_attributes

HEADER = ("case_number", "source", "prompt", "evaluation_seed", "coco_id")


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captions_module, "FEWEST", 3)


def write(folder: Path, ids: list[int]) -> tuple[Path, Path]:
    """A list as COCO-30k's, and val2014's files, each of one colour."""
    pictures = folder / "val2014"
    pictures.mkdir()
    for each in ids:
        pixels = np.full((8, 8, 3), each % 256, dtype=np.uint8)
        (pictures / f"COCO_val2014_{each:012d}.jpg").write_bytes(encode(pixels))
    file = folder / "coco_30k.csv"
    write_rows(file, ids)
    return file, pictures


def write_rows(file: Path, ids: list[int]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER)
        writer.writerows((number, "coco", f"picture {each}", 1000 + each, each) for number, each in enumerate(ids))


def test_each_caption_has_the_picture_of_its_id(tmp_path: Path) -> None:
    found = read_captions(*write(tmp_path, [5, 42, 700, 13]), None, 0)
    for prompt, picture in zip(found.prompts, found.pictures, strict=True):
        assert isinstance(picture, Path)
        assert prompt.prompt == f"picture {prompt.id}" and prompt.seed == 1000 + int(prompt.id)
        assert picture.name == f"COCO_val2014_{int(prompt.id):012d}.jpg"
    assert len(found.prompts) == 4


def test_shuffling_the_file_and_the_folder_changes_nothing(tmp_path: Path) -> None:
    file, pictures = write(tmp_path, [5, 42, 700, 13])
    first = read_captions(file, pictures, 3, 0)
    write_rows(file, [13, 700, 5, 42])
    again = tmp_path / "again"
    again.mkdir()
    for picture in sorted(pictures.iterdir(), reverse=True):
        shutil.copy(picture, again / picture.name)
    second = read_captions(file, again, 3, 0)
    assert first.prompts == second.prompts
    assert [each.name for each in first.pictures if isinstance(each, Path)] == [
        each.name for each in second.pictures if isinstance(each, Path)
    ]


def test_as_published_the_order_is_the_files_and_the_whole_folder_is_the_reference(tmp_path: Path) -> None:
    file, pictures = write(tmp_path, [5, 42, 700, 13])
    write_rows(file, [42, 5, 700])
    found = read_captions(file, pictures, None, 0, as_published=True)
    assert [prompt.id for prompt in found.prompts] == ["42", "5", "700"]
    assert len(found.pictures) == 4
    assert all(prompt.seed != 1000 + int(prompt.id) for prompt in found.prompts)


def test_of_30_000_images_sorted_by_name_one_gets_its_own_caption() -> None:
    assert sum(number == index for number, index in enumerate(file_name_order(30_000))) == 1
    assert texts_by_file_name([str(number) for number in range(1, 12)]) == [
        *("1", "4", "5", "6", "7", "8", "9", "10", "11", "2", "3"),
    ]


def test_nanos_captions_ask_for_what_is_drawn() -> None:
    found = nano_captions(None, 0)
    assert len(found.prompts) == len(set(found.pictures)) == 256
    assert all(find_attributes(prompt.prompt)["sky"] is not None for prompt in found.prompts)
    assert isinstance(found.pictures[0], bytes) and decode(found.pictures[0]).shape == (64, 64, 3)
    assert nano_captions(20, 0).prompts == found.prompts[:20]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([5, 42, 700, 99], "lacks 1 of the 4 pictures of coco_30k.csv, such as 99"),
        ([1, 2, 3, 4], "has an id of coco_30k.csv: it asks for"),
        ([5, 42], "3 captions are needed, but there are 2"),
    ],
)
def test_missing_pictures_other_ids_and_too_few_captions_are_one_line(
    tmp_path: Path, ids: list[int], message: str
) -> None:
    file, pictures = write(tmp_path, [5, 42, 700, 13])
    write_rows(file, ids)
    with pytest.raises(DatasetError, match=message):
        read_captions(file, pictures, None, 0)


def test_more_captions_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="40000 captions are needed, but there are 4"):
        read_captions(*write(tmp_path, [5, 42, 700, 13]), 40_000, 0)
    with pytest.raises(DatasetError, match="300 captions are needed, but there are 256"):
        nano_captions(300, 0)


def test_captions_without_ids_folders_without_pictures_and_two_pictures_of_one_id(tmp_path: Path) -> None:
    file, pictures = write(tmp_path, [5, 42, 700])
    plain = tmp_path / "plain.txt"
    plain.write_text("a\nb\nc\n")
    with pytest.raises(DatasetError, match=r"plain.txt, row 1: no id of a picture; .* name its column with --column"):
        read_captions(plain, pictures, None, 0)
    with pytest.raises(DatasetError, match="there is no folder"):
        read_captions(file, tmp_path / "nowhere", None, 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no images in"):
        read_captions(file, tmp_path / "empty", None, 0)
    shutil.copy(pictures / "COCO_val2014_000000000005.jpg", pictures / "5.png")
    with pytest.raises(DatasetError, match="have one id, 5"):
        read_captions(file, pictures, None, 0)


def test_a_folder_may_have_other_images_and_hidden_ones(tmp_path: Path) -> None:
    file, pictures = write(tmp_path, [5, 42, 700])
    for name in ("cat-9.png", "dog-9.png", "._COCO_val2014_000000000005.jpg", "notes.txt"):
        (pictures / name).write_bytes(b"")
    found = read_captions(file, pictures, None, 0)
    assert {Path(str(picture)).name for picture in found.pictures} == {
        f"COCO_val2014_{number:012d}.jpg" for number in (5, 42, 700)
    }


@pytest.mark.parametrize("form", ["{:04d}", "{}.0", "COCO_val2014_{:012d}", "COCO_val2014_{:012d}.jpg"])
def test_an_id_is_a_number_in_any_form_or_a_files_name(tmp_path: Path, form: str) -> None:
    file, pictures = write(tmp_path, [5, 42, 700])
    file.write_text("image_id,prompt\n" + "".join(f"{form.format(number)},a cat\n" for number in (5, 42, 700)))
    assert len({*read_captions(file, pictures, None, 0).pictures}) == 3


def test_names_of_another_list_do_not_match_by_their_numbers(tmp_path: Path) -> None:
    file, pictures = write(tmp_path, [5, 42, 700])
    file.write_text("image_id,prompt\n" + "".join(f"train_{number},a cat\n" for number in (5, 42, 700)))
    with pytest.raises(DatasetError, match=r"no picture in .* has an id of coco_30k.csv: it asks for train_"):
        read_captions(file, pictures, None, 0)


def test_a_caption_that_is_there_twice_would_count_twice(tmp_path: Path) -> None:
    file, pictures = write(tmp_path, [5, 42, 700])
    file.write_text("image_id,prompt\n5,a cat\n42,a dog\n700,a hat\n0042,a dog\n")
    with pytest.raises(DatasetError, match=r"the caption 'a dog' of COCO_val2014_000000000042.jpg 2 times: keep one"):
        read_captions(file, pictures, None, 0)


def test_several_captions_of_a_picture_are_compared_with_it_once_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, pictures = write(tmp_path, [5, 42, 700])
    file.write_text("image_id,prompt\n5,a cat\n42,a dog\n700,a hat\n42,a small dog\n")
    assert len(read_captions(file, pictures, None, 0).pictures) == 4
    assert "coco_30k.csv has 4 captions of 3 pictures" in " ".join(capsys.readouterr().err.split())


def test_a_row_without_a_caption_is_named_before_anything_is_rendered(tmp_path: Path) -> None:
    file, pictures = write(tmp_path, [5, 42, 700])
    file.write_text("image_id,prompt\n5,a cat\n42,\n700,a hat\n")
    with pytest.raises(DatasetError, match=r"coco_30k.csv, row 2: no caption"):
        read_captions(file, pictures, None, 0)


def test_columns_may_be_chosen_as_in_cocos_annotations(tmp_path: Path) -> None:
    file, pictures = write(tmp_path, [5, 42, 700])
    file.write_text("id,image_id,caption\n" + "".join(f"{number + 1},{number},a cat\n" for number in (5, 42, 700)))
    with pytest.raises(DatasetError, match="`--column"):
        read_captions(file, pictures, None, 0)
    found = read_captions(file, pictures, None, 0, columns=["caption", "image_id"])
    assert {prompt.id for prompt in found.prompts} == {"5", "42", "700"}


def test_captions_say_whose_seeds_they_have(tmp_path: Path) -> None:
    file, pictures = write(tmp_path, [5, 42, 700])
    assert read_captions(file, pictures, None, 7).seeds == "seeds of coco_30k.csv"
    assert read_captions(file, pictures, None, 7, as_published=True).seeds == "evaluation seed 7"
    assert nano_captions(20, 7).seeds == "evaluation seed 7"
