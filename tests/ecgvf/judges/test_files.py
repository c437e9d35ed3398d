"""Judging the files of a folder: which are judged together, which fail alone, and the best threshold."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ecgvf.core.errors import DeviceFailed
from ecgvf.judges.custom import judge
from ecgvf.judges.files import best_threshold, predict_files
from ecgvf.judges.judge import Prediction


def test_the_best_threshold_separates_known_images(tmp_path: Path) -> None:
    brightness = judge(lambda images: images.mean(axis=(1, 2, 3)) / 255, "brightness", "1", 0.0)
    files = []
    for shade in (10, 30, 50, 150, 170, 190):
        files.append(tmp_path / f"{shade}.png")
        Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(files[-1])
    separable = best_threshold(brightness, files[3:], files[:3])
    assert separable.value == 0.39 and separable.balanced_accuracy == 1  # 100 / 255
    assert (separable.positives, separable.negatives) == (3, 3)
    mixed = best_threshold(brightness, [files[0], *files[4:]], [*files[1:4]])
    assert mixed.balanced_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert 150 / 255 < mixed.value < 170 / 255
    close = judge(lambda images: 0.5 + images.mean(axis=(1, 2, 3)) / 2**24, "close", "1", 0.0)
    assert best_threshold(close, files[3:], files[:3]).value == 0.500006


def test_consecutive_images_of_one_size_are_judged_together(tmp_path: Path) -> None:
    batches: list[tuple[int, ...]] = []

    def record(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        batches.append(images.shape)
        return images.mean(axis=(1, 2, 3)) / 255

    files = [tmp_path / f"{number}.png" for number in range(36)]
    for number, file in enumerate(files):
        side = 8 if number == 33 else 4
        Image.fromarray(np.full((side, side, 3), number, np.uint8)).save(file)
    files[34].write_bytes(b"no image")
    results = list(predict_files(judge(record, "judge", "1"), files))
    assert batches == [(32, 4, 4, 3), (1, 4, 4, 3), (1, 8, 8, 3), (1, 4, 4, 3)]
    assert [file for file, _ in results] == files
    scores = [None if isinstance(result, str) else round(result.score * 255) for _, result in results]
    assert scores == [*range(34), None, 35]


def test_an_image_that_the_judge_cannot_take_spoils_no_other(tmp_path: Path) -> None:
    def refuse_black(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        if not images.any(axis=(1, 2, 3)).all():
            raise ValueError("a black image")
        return images.mean(axis=(1, 2, 3)) / 255

    files = [tmp_path / f"{shade}.png" for shade in (255, 0, 51)]
    for file in files:
        Image.fromarray(np.full((4, 4, 3), int(file.stem), np.uint8)).save(file)
    first, black, last = (found for _, found in predict_files(judge(refuse_black, "judge", "1"), files))
    assert black == "could not be judged: a black image"
    assert isinstance(first, Prediction) and first.score == 1
    assert isinstance(last, Prediction) and last.score == pytest.approx(0.2)


def test_a_failing_gpu_is_no_failure_of_its_images(tmp_path: Path) -> None:
    def broken(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        raise RuntimeError("CUDA error: device-side assert triggered\ndetails")

    file = tmp_path / "grey.png"
    Image.fromarray(np.full((4, 4, 3), 128, np.uint8)).save(file)
    with pytest.raises(DeviceFailed, match=r"judge broken failed: CUDA error: device-side assert triggered$"):
        list(predict_files(judge(broken, "broken", "1"), [file]))
