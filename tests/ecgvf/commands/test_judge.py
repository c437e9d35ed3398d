"""``ecgvf judge`` and the judges of ``ecgvf filter`` as a user types them, and what importing the judges costs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.commands.options import JudgeArguments
from ecgvf.core import concepts
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.filter import stage as filter_stage
from ecgvf.judges.custom import judge
from ecgvf.judges.factory import NAMES
from ecgvf.judges.files import best_threshold, predict_files
from ecgvf.judges.judge import Prediction
from tests.ecgvf.judges.photographs import photograph
from tests.ecgvf.small_run import Oracle, write_images

runner = CliRunner()
GREY = np.full((8, 8, 3), 128, np.uint8)


@pytest.fixture
def run() -> ConceptRun:
    """Church in a new store."""
    return ConceptRun(Store(), concepts.find("church"))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Photographs of several sizes and modes, and files that cannot be judged."""
    folder = tmp_path / "album"
    folder.mkdir()
    Image.fromarray(photograph("astronaut")).save(folder / "astronaut.jpg")
    Image.fromarray(photograph("rocket")).convert("RGBA").save(folder / "rocket.png")
    Image.fromarray(photograph("camera")[:, :, 0]).save(folder / "camera.png")
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    Image.fromarray(photograph("astronaut")[:, :, 0].astype(np.uint16) * 256).save(folder / "16-bit.png")
    return folder


def test_judge_prints_boxes_and_the_files_that_it_cannot_read(album: Path) -> None:
    pytest.importorskip("nudenet")
    result = runner.invoke(
        app, ["judge", "--judge", "nudenet", "--labels", "FACE_FEMALE,FACE_MALE", str(album), "--json"]
    )
    assert result.exit_code == 2 and "2 of 5" in result.stderr
    rows = {Path(row["picture"]).name: row for row in json.loads(result.stdout)["pictures"]}
    assert list(rows) == ["16-bit.png", "astronaut.jpg", "camera.png", "rocket.png", "torn.png"]
    assert "8 bits" in rows["16-bit.png"]["failure"]
    assert rows["astronaut.jpg"]["present"] and rows["astronaut.jpg"]["boxes"][0]["label"] == "FACE_FEMALE"
    assert rows["camera.png"]["present"] and not rows["rocket.png"]["present"]
    assert "cannot be read" in rows["torn.png"]["failure"]
    table = runner.invoke(app, ["judge", "--judge", "nudenet", str(album / "astronaut.jpg")])
    assert table.exit_code == 0 and "FACE_FEMALE" in table.stdout


@pytest.mark.faults
def test_judge_refuses_bad_input_in_one_line(tmp_path: Path) -> None:
    for arguments in (
        [str(tmp_path / "none.png")],
        ["--judge", "nudenet", str(tmp_path)],
        ["--judge", "crystal-ball", str(tmp_path)],
        ["--judge", "resnet50", "--combine", "most", str(tmp_path)],
    ):
        result = runner.invoke(app, ["judge", *arguments])
        assert result.exit_code == 2, result.output
        assert result.stderr.count("\n") == 1


def test_the_help_names_every_judge() -> None:
    option = get_type_hints(JudgeArguments, include_extras=True)["judge"].__metadata__[0]
    assert [name for name in NAMES if name not in option.help] == []


def test_the_best_threshold_separates_known_images(tmp_path: Path) -> None:
    brightness = judge(lambda images: images.mean(axis=(1, 2, 3)) / 255, "brightness", "1")
    files = []
    for shade in (10, 30, 50, 150, 170, 190):
        files.append(tmp_path / f"{shade}.png")
        Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(files[-1])
    separable = best_threshold(brightness, files[3:], files[:3])
    assert separable.value == pytest.approx(100 / 255) and separable.balanced_accuracy == 1
    assert (separable.positives, separable.negatives) == (3, 3)
    mixed = best_threshold(brightness, [files[0], *files[4:]], [*files[1:4]])
    assert mixed.balanced_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert 150 / 255 < mixed.value < 170 / 255


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


def test_filter_compare_prints_kappa_and_disputed_images(run: ConceptRun) -> None:
    write_images(run.store, run.concept, [(GREY, GREY)] * 2)
    for name, answers in (("first", [True, False, True, False]), ("second", [True, False, False, False])):
        oracle = Oracle(answers)
        oracle.name = name
        filter_images(run, judge=oracle)
    command = ["filter", "--compare", "--store", str(run.store.root)]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.stderr
    assert "agree on 3 of 4" in result.stdout and "kappa 0.500" in result.stdout
    assert "target: a church by lake 1" in result.stdout
    comparison = json.loads(runner.invoke(app, [*command, "--json"]).stdout)
    assert comparison["kappa"]["value"] == pytest.approx(0.5) and comparison["kappa"]["n"] == 4
    assert [dispute["present"] for dispute in comparison["disputed"]] == [[False, True]]
    assert [verdicts["threshold"] for verdicts in comparison["sets"]] == [None, None]
    assert runner.invoke(app, [*command, "--sets", "first"]).exit_code == 2
    for option in (["--threshold", "0.3"], ["--seeds", "3"], ["--weights", "x.pth"]):
        refused = runner.invoke(app, [*command, *option])
        assert refused.exit_code == 2 and "--compare reads existing verdicts" in refused.stderr


def test_filter_prints_near_misses(run: ConceptRun, monkeypatch: pytest.MonkeyPatch) -> None:
    class Castle(Oracle):
        def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
            return [Prediction(False, 0.1, (("castle", 0.8), ("church", 0.1))) for _ in images]

    write_images(run.store, run.concept, [(GREY, GREY)])
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: Castle([]))
    result = runner.invoke(app, ["filter", "--store", str(run.store.root)])
    assert "1 × target_absent (near misses: 1 castle)" in result.stdout


def test_filter_warns_of_a_judge_that_was_trained_on_other_images(
    run: ConceptRun, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(run.store, run.concept, [(GREY, GREY)], model="janus-nano")
    assert filter_images(run, judge=Oracle([True, False])).accepted_pairs == 1
    assert "doubt its verdicts" in capsys.readouterr().err


def test_importing_the_judges_imports_no_library_of_a_judge() -> None:
    heavy = "torch torchvision transformers timm onnxruntime cv2 nudenet sklearn starlette uvicorn"
    code = (
        "import sys, ecgvf.judges, ecgvf.judges.custom, ecgvf.judges.domain, ecgvf.judges.files; "
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[]", done.stderr
