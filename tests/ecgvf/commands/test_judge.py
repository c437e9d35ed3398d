"""``ecgvf judge`` and ``ecgvf filter --compare`` as a user types them, and what importing the judges costs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core import concepts
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.filter import stage as filter_stage
from ecgvf.judges.files import threshold
from tests.ecgvf.judges.photographs import photograph
from tests.ecgvf.small_run import Oracle, write_pictures

runner = CliRunner()
CHURCH = concepts.find("church")
GREY = np.full((8, 8, 3), 128, np.uint8)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Photographs of several sizes and modes, one of which is no picture."""
    folder = tmp_path / "album"
    folder.mkdir()
    Image.fromarray(photograph("astronaut")).save(folder / "astronaut.jpg")
    Image.fromarray(photograph("rocket")).convert("RGBA").save(folder / "rocket.png")
    Image.fromarray(photograph("camera")[:, :, 0]).save(folder / "camera.png")
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    Image.fromarray(photograph("astronaut")[:, :, 0].astype(np.uint16) * 256).save(folder / "16-bit.png")
    return folder


def test_judge_shows_boxes_and_says_which_file_it_cannot_read(album: Path) -> None:
    pytest.importorskip("nudenet")
    result = runner.invoke(
        app, ["judge", "--judge", "nudenet", "--labels", "FACE_FEMALE,FACE_MALE", str(album), "--json"]
    )
    assert result.exit_code == 2 and "2 of 5 pictures" in result.stderr
    told = json.loads(result.stdout)
    seen = {Path(row["picture"]).name: row for row in told["pictures"]}
    assert list(seen) == ["16-bit.png", "astronaut.jpg", "camera.png", "rocket.png", "torn.png"]
    assert "8 bits" in seen["16-bit.png"]["failure"]
    assert seen["astronaut.jpg"]["present"] and seen["astronaut.jpg"]["boxes"][0]["label"] == "FACE_FEMALE"
    assert seen["camera.png"]["present"] and not seen["rocket.png"]["present"]
    assert "cannot be read" in seen["torn.png"]["failure"]
    words = runner.invoke(app, ["judge", "--judge", "nudenet", str(album / "astronaut.jpg")])
    assert words.exit_code == 0 and "FACE_FEMALE" in words.stdout


@pytest.mark.faults
def test_judge_refuses_what_it_cannot_do_in_one_line(tmp_path: Path) -> None:
    for arguments in (
        [str(tmp_path / "none.png")],
        ["--judge", "nudenet", str(tmp_path)],
        ["--judge", "crystal-ball", str(tmp_path)],
        ["--judge", "resnet50", "--combine", "most", str(tmp_path)],
    ):
        result = runner.invoke(app, ["judge", *arguments])
        assert result.exit_code == 2, result.output
        assert result.stderr.count("\n") == 1


class Bright:
    """Scores a picture by its brightness."""

    name, weights_hash = "bright", "0"
    criterion = Oracle.criterion

    def predict(self, images: np.ndarray) -> list[filter_stage.Prediction]:
        return [filter_stage.Prediction(False, float(image.mean() / 255), ()) for image in images]


def test_a_threshold_parts_pictures_that_are_known(tmp_path: Path) -> None:
    files = []
    for shade in (10, 30, 50, 150, 170, 190):
        files.append(tmp_path / f"{shade}.png")
        Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(files[-1])
    found = threshold(Bright(), files[3:], files[:3])
    assert found.value == pytest.approx(100 / 255) and found.balanced_accuracy == 1
    mixed = threshold(Bright(), [files[0], *files[4:]], [*files[1:4]])
    assert mixed.balanced_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert 150 / 255 < mixed.value < 170 / 255


def test_filter_compare_prints_kappa_and_the_disputed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(store, CHURCH, [(GREY, GREY)] * 2)
    for name, answers in (("one", [True, False, True, False]), ("two", [True, False, False, False])):
        oracle = Oracle(answers)
        oracle.name = name
        monkeypatch.setattr(filter_stage, "create_judge", lambda *_, oracle=oracle: oracle)
        filter_images(ConceptRun(store, CHURCH))
    command = ["filter", "--compare", "--store", str(store.root)]
    words = runner.invoke(app, command)
    assert words.exit_code == 0, words.stderr
    assert "agree on 3 of 4 pictures" in words.stdout and "kappa 0.500" in words.stdout
    assert "target: a church by lake 1" in words.stdout
    told = json.loads(runner.invoke(app, [*command, "--json"]).stdout)
    assert told["kappa"]["value"] == pytest.approx(0.5) and told["kappa"]["n"] == 4
    assert [case["present"] for case in told["disputed"]] == [[False, True]]
    assert [side["threshold"] for side in told["sets"]] == [None, None]
    assert runner.invoke(app, [*command, "--sets", "one"]).exit_code == 2
    for option in (["--threshold", "0.3"], ["--seeds", "3"], ["--weights", "x.pth"]):
        refused = runner.invoke(app, [*command, *option])
        assert refused.exit_code == 2 and "without options of a judge" in refused.stderr


def test_filter_tells_near_misses(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(store, CHURCH, [(GREY, GREY)])

    class Castle(Oracle):
        def predict(self, images: np.ndarray) -> list[filter_stage.Prediction]:
            return [filter_stage.Prediction(False, 0.1, (("castle", 0.8), ("church", 0.1))) for _ in images]

    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: Castle([]))
    result = runner.invoke(app, ["filter", "--store", str(store.root)])
    assert "1 × target_absent (near misses: 1 castle)" in result.stdout


def test_a_judge_of_another_family_works_and_warns(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(store, CHURCH, [(GREY, GREY)], model="janus-nano")
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: Oracle([True, False]))
    result = runner.invoke(app, ["filter", "--store", str(store.root)])
    assert result.exit_code == 0 and "doubt its verdicts" in result.stderr


def test_importing_the_judges_imports_no_library_of_one_judge() -> None:
    heavy = "timm onnxruntime cv2 nudenet sklearn starlette uvicorn"
    code = f"import sys, ecgvf.judges; print([name for name in '{heavy}'.split() if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[]", done.stderr
