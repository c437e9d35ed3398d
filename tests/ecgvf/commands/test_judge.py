"""``ecgvf judge`` and the judges of ``ecgvf filter`` as a user types them."""

import json
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.commands.options import JudgeArguments
from ecgvf.core.run import ConceptRun
from ecgvf.filter import filter_images
from ecgvf.filter import stage as filter_stage
from ecgvf.judges.custom import judge
from ecgvf.judges.factory import NAMES
from ecgvf.judges.judge import Prediction
from tests.ecgvf.judges.photographs import photograph
from tests.ecgvf.small_run import ScriptedJudge, write_images

runner = CliRunner()
GREY = np.full((8, 8, 3), 128, np.uint8)


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
    result = runner.invoke(
        app, ["judge", "--judge", "nudenet", "--labels", "FACE_FEMALE,FACE_MALE", str(album), "--json"]
    )
    assert result.exit_code == 2 and "2 of 5" in result.stderr
    rows = {Path(row["image"]).name: row for row in json.loads(result.stdout)["images"]}
    assert list(rows) == ["16-bit.png", "astronaut.jpg", "camera.png", "rocket.png", "torn.png"]
    assert "8 bits" in rows["16-bit.png"]["failure"]
    assert rows["astronaut.jpg"]["present"] and rows["astronaut.jpg"]["boxes"][0]["label"] == "FACE_FEMALE"
    assert rows["camera.png"]["present"] and not rows["rocket.png"]["present"]
    assert "cannot be read" in rows["torn.png"]["failure"]
    table = runner.invoke(app, ["judge", "--judge", "nudenet", str(album / "astronaut.jpg")])
    assert table.exit_code == 0 and "FACE_FEMALE" in table.stdout


def test_a_threshold_has_its_accuracy_on_the_images_that_it_was_chosen_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brightness = judge(lambda images: images.mean(axis=(1, 2, 3)) / 255, "brightness", "1")
    monkeypatch.setattr("ecgvf.judges.create_judge", lambda *_: brightness)
    for shade in (50, 150, 200):
        Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(tmp_path / f"{shade}.png")
    dark, bright = str(tmp_path / "50.png"), [str(tmp_path / f"{shade}.png") for shade in (150, 200)]
    found = json.loads(runner.invoke(app, ["judge", *bright, "--without", dark, "--json"]).stdout)
    assert found["balanced_accuracy"] == {"value": 1.0, "n": 3, "low": None, "high": None}
    shown = " ".join(runner.invoke(app, ["judge", *bright, "--without", dark]).stdout.split())
    assert "1.000 on these images, on which it was chosen; expect less on other images" in shown


@pytest.mark.parametrize(("name", "labels"), [("nudenet", "FACE_FEMALE,FACE_MALE"), ("nano-object-a", "palm,cow")])
def test_the_printed_threshold_has_the_printed_accuracy(tmp_path: Path, name: str, labels: str) -> None:
    astronaut, camera = photograph("astronaut"), photograph("camera")
    # At its default threshold, NudeNet drops both faces of the second folder. Nano's judge gives the labels a higher
    # score in the first folder, but in its last image another label is the best.
    crops = {
        "with": [astronaut[50:110, 150:210], astronaut[50:110, 250:310], photograph("coffee")],
        "without": [astronaut[100:160, 200:260], camera[:150, 50:200], photograph("rocket")],
    }
    for folder, images in crops.items():
        (tmp_path / folder).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / folder / f"{number}.png")
    command = ["judge", "--judge", name, "--labels", labels, "--json"]
    found = json.loads(
        runner.invoke(app, [*command, str(tmp_path / "with"), "--without", str(tmp_path / "without")]).stdout
    )
    result = runner.invoke(app, [*command, "--threshold", str(found["threshold"]), *map(str, tmp_path.glob("with*"))])
    right = [row["present"] == ("without" not in row["image"]) for row in json.loads(result.stdout)["images"]]
    assert found["balanced_accuracy"]["value"] == pytest.approx(sum(right) / 6)


def test_no_threshold_is_found_for_several_judges(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "1.png")
    arguments = ["judge", "--concept", "church", "--judge", "nano-object-a+nano-object-b", str(tmp_path)]
    result = runner.invoke(app, [*arguments, "--without", str(tmp_path)])
    assert result.exit_code == 2
    assert "--without finds the threshold of one judge: name one of nano-object-a+nano-object-b" in result.stderr


def test_the_default_judge_is_that_of_the_model_that_rendered_the_images(tmp_path: Path) -> None:
    for folder in ("rendered", "other"):
        (tmp_path / folder / "images").mkdir(parents=True)
        Image.fromarray(np.full((64, 64, 3), 128, np.uint8)).save(tmp_path / folder / "images" / "1.png")
        (tmp_path / folder / "shards").mkdir()
    (tmp_path / "rendered/shards/manifest.json").write_text('{"model": "janus-nano"}')
    (tmp_path / "other/shards/manifest.json").write_text("[]")
    result = runner.invoke(app, ["judge", "--concept", "church", str(tmp_path / "rendered"), "--json"])
    assert json.loads(result.stdout)["judge"] == "nano-object-a" and not result.stderr
    result = runner.invoke(app, ["judge", "--concept", "nudity", str(tmp_path / "other"), "--json"])
    assert json.loads(result.stdout)["judge"] == "nudenet"
    assert result.stderr == "judge nudenet, the default for nudity\n"
    arguments = ["judge", "--concept", "church", "--judge", "nano-object-a", str(tmp_path / "other")]
    assert not runner.invoke(app, arguments).stderr


def test_of_unknown_images_the_note_names_the_judge_and_that_of_nano(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(GREY).save(tmp_path / "1.png")
    monkeypatch.setattr("ecgvf.judges.create_judge", lambda *_: ScriptedJudge([True]))
    note = "judge resnet50, the default for church; for images of janus-nano use --judge nano-object-a\n"
    assert note in runner.invoke(app, ["judge", "--concept", "church", str(tmp_path)]).stderr


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


def test_filter_compare_prints_kappa_and_disputed_images(run: ConceptRun) -> None:
    write_images(run.store, run.concept, [(GREY, GREY)] * 2)
    for name, answers in (("first", [True, False, True, False]), ("second", [True, False, False, False])):
        scripted = ScriptedJudge(answers)
        scripted.name = name
        filter_images(run, judge=scripted)
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
    class Castle(ScriptedJudge):
        def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
            return [Prediction(False, 0.1, (("castle", 0.8), ("church", 0.1))) for _ in images]

    write_images(run.store, run.concept, [(GREY, GREY)])
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: Castle([]))
    result = runner.invoke(app, ["filter", "--store", str(run.store.root)])
    assert "1 × target_absent (near misses: 1 castle)" in result.stdout


def test_filter_prints_why_the_judge_failed(run: ConceptRun, monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(ScriptedJudge):
        def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
            raise ValueError("too grey")

    write_images(run.store, run.concept, [(GREY, GREY)])
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: Blind([]))
    command = ["filter", "--store", str(run.store.root)]
    assert "1 × judge_failed\n    2 images: too grey\n" in runner.invoke(app, command).stdout
    assert json.loads(runner.invoke(app, [*command, "--json"]).stdout)["failures"] == {"too grey": 2}
