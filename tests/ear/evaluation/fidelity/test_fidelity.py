"""``--figures paper``: FID, KID and CLIP score before and after, from images that are rendered once."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ear.cli import app
from ear.evaluation import Evaluation, EvaluationSettings, evaluate, report
from ear.evaluation.comparison import same_tasks
from ear.evaluation.fidelity import published
from ear.evaluation.fidelity.encoders import nano_encoders, photograph_encoders
from ear.evaluation.fidelity.features import image_features
from ear.evaluation.fidelity.measure import FidelityMeasurement
from ear.evaluation.fidelity.settings import FidelitySettings
from ear.method.open_adapter import open_adapter
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, JudgeError, SettingsError
from ecgvf.core.png import encode
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling, generation_ids, render_images
from ecgvf.render import batches
from tests import random_clip
from tests.ear.evaluation.fidelity.test_inception import random_state
from tests.ear.evaluation.test_evaluation import save_adapter
from tests.ecgvf.judges.photographs import photograph

PAPER = EvaluationSettings(
    prompts_per_concept=2, prompts_per_other=0, figures="paper", fidelity=FidelitySettings(captions=20)
)


@pytest.fixture
def adapter(tiny: JanusModel, tmp_path: Path) -> Path:
    return save_adapter(tiny, tmp_path / "run" / "adapter.safetensors")


def test_figures_are_labelled_nano_say_what_they_are_of_and_survive_a_file(
    store: Store, tiny: JanusModel, dataset: Dataset, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = evaluate(store, tiny, dataset, [adapter], PAPER)
    assert measured.fidelity is not None
    rows = {row.figure: row for row in measured.fidelity.rows}
    assert list(rows) == ["fid", "kid", "clip_score"]
    assert all(row.group == "nano" and row.before.n == row.after.n == 20 for row in rows.values())
    assert all(row.before.low <= row.before.value <= row.before.high for row in rows.values())
    assert rows["fid"].before.value > 0 and rows["fid"].before.value != rows["fid"].after.value
    assert measured.fidelity.own_text == measured.fidelity.n == measured.fidelity.reference_n == 20
    assert "centre square, bicubic" in measured.fidelity.resizing
    shown = str(measured)
    assert "nano: FID" in shown and "nano: CLIP score" in shown and "evaluation seed 0" in shown
    assert Evaluation.load(measured.save(tmp_path / "outcomes.parquet")).fidelity == measured.fidelity
    assert "nano: KID" in report.document([measured], ["after"], "markdown")
    # Again: nothing is rendered, and the figures are the same.
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("rendered again"))
    assert evaluate(store, tiny, dataset, [adapter], PAPER).fidelity == measured.fidelity


def test_as_published_is_labelled_in_every_output_and_pairs_hardly_any_caption(
    store: Store, tiny: JanusModel, dataset: Dataset, adapter: Path
) -> None:
    words = [*("eval", "--adapter", str(adapter), "--prompts-per-concept", "2", "--prompts-per-other", "0")]
    words += ["--figures", "paper", "--captions", "20", "--as-published"]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    paper = json.loads(result.stdout)["paper"]
    assert paper["as_published"] and paper["label"] == "nano, as published"
    assert paper["protocol"] == list(published.PROTOCOL)
    assert (paper["n"], paper["reference_n"], paper["own_text"]) == (20, 256, 1)
    assert {row["figure"]: row["group"] for row in paper["figures"]} == {
        "fid": "nano, as published",
        "clip_score": "nano, as published",
    }
    shown = " ".join(CliRunner().invoke(app, words).stdout.split())
    assert "nano, as published: FID" in shown and "padded on the left without a mask" in shown


def test_without_a_mask_an_image_depends_on_the_others_of_its_batch(tiny: JanusModel) -> None:
    unmasked = replace(tiny, padding_masked=False)
    short, long = "a church", "a church on a hill of grass under a blue sky, in watercolour"

    def first(model: JanusModel, *prompts: str) -> list[int]:
        seeds = [7, *range(len(prompts) - 1)]
        ids: list[int] = render_images(model, prompts, seeds, Sampling(guidance=3.0)).vq_ids[0].tolist()
        return ids

    assert first(tiny, short) == first(tiny, short, long)
    assert first(unmasked, short) != first(unmasked, short, long)
    assert len(generation_ids(tiny, [short])[0][0]) < len(generation_ids(tiny, [long])[0][0])


def test_through_jpeg_the_features_change_and_so_does_their_set(store: Store, dataset: Dataset) -> None:
    run, encoders = ConceptRun(store, dataset.concept), nano_encoders()
    images = run.current(IMAGES)
    texts = ["a church"] * len(images.read())
    clean = image_features(run, encoders, images, texts)
    lossy = image_features(run, encoders, images, texts, jpeg=True)
    assert clean.shards.path != lossy.shards.path
    one, other = (np.concatenate(list(each.batches())) for each in (clean, lossy))
    assert one.shape == other.shape and not np.allclose(one, other)


def test_figures_of_other_captions_are_not_compared(
    store: Store, tiny: JanusModel, dataset: Dataset, adapter: Path
) -> None:
    with_captions = evaluate(store, tiny, dataset, [adapter], PAPER)
    same_tasks([with_captions, with_captions], ["a", "b"])
    with pytest.raises(DatasetError, match="b has FID, KID and CLIP score of other captions"):
        same_tasks([with_captions, replace(with_captions, fidelity=None)], ["a", "b"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--coco x.csv", "--coco FILE and --coco-images DIR belong together"),
        ("--captions 20", "--captions is for --figures paper"),
        ("--as-published", "--as-published is for --figures paper"),
        ("--figures paper --captions 3", "--captions 3: at least 20"),
        ("--figures paper --captions 257", "257 captions are needed, but there are 256"),
        ("--figures paper --coco x.csv --coco-images nowhere", "there is no file x.csv"),
    ],
)
def test_bad_input_is_one_line_and_renders_nothing(
    store: Store, adapter: Path, line: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("rendered"))
    result = CliRunner().invoke(app, ["eval", "--adapter", str(adapter), *line.split()])
    assert result.exit_code == 2, result.output
    errors = [text for text in result.stderr.splitlines() if text.startswith("error")]
    assert len(errors) == 1 and message in errors[0] and "Traceback" not in result.output


def test_outside_nanos_world_captions_and_weights_are_needed(
    store: Store, tiny: JanusModel, dataset: Dataset, adapter: Path, tmp_path: Path
) -> None:
    photographs = replace(dataset, judge="resnet50")
    with pytest.raises(SettingsError, match="--figures paper needs --coco FILE and --coco-images DIR"):
        FidelityMeasurement.open(photographs, tiny, FidelitySettings(), 0)
    rows = "".join(f"{number},a cat\n" for number in range(20))
    (tmp_path / "coco.csv").write_text(f"image_id,prompt\n{rows}")
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(b"")
    settings = FidelitySettings(coco=tmp_path / "coco.csv", coco_images=tmp_path)
    with pytest.raises(SettingsError, match="name torch-fidelity's or torchvision's with --inception"):
        FidelityMeasurement.open(photographs, tiny, settings, 0)
    settings = replace(settings, inception=tmp_path / "nothing.pth")
    with pytest.raises(JudgeError, match=r"no weights at .*: correct --inception"):
        FidelityMeasurement.open(photographs, tiny, settings, 0)
    nano = FidelityMeasurement.open(dataset, tiny, replace(settings, inception=None), 0)
    with pytest.raises(DatasetError, match="cannot be read as an image"):
        nano.measure(store, tiny, open_adapter(tiny, [adapter]), "0", None)


def test_captions_of_a_file_are_compared_with_the_pictures_of_their_ids(
    store: Store, adapter: Path, tmp_path: Path
) -> None:
    (tmp_path / "val2014").mkdir()
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 256, (30 + number, 50, 3), dtype=np.uint8)
        (tmp_path / "val2014" / f"COCO_val2014_{number:012d}.png").write_bytes(encode(pixels))
    rows = "".join(f"{number},a cat number {number}\n" for number in reversed(range(22)))
    (tmp_path / "coco.csv").write_text(f"image_id,prompt\n{rows}")
    words = [*("eval", "--adapter", str(adapter), "--prompts-per-concept", "1", "--prompts-per-other", "0", "--json")]
    words += ["--figures", "paper", "--coco", str(tmp_path / "coco.csv"), "--coco-images", str(tmp_path / "val2014")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    paper = json.loads(result.stdout)["paper"]
    assert (paper["captions"], paper["n"], paper["reference_n"], paper["own_text"]) == ("coco.csv", 22, 22, 22)


def test_photographs_are_encoded_by_inception_and_clip(tmp_path: Path) -> None:
    torch.save(random_state(1008, aux=False), tmp_path / "inception.pth")
    settings = FidelitySettings(inception=tmp_path / "inception.pth", clip=str(random_clip.build(tmp_path / "clip")))
    encoders = photograph_encoders(settings, "cpu")
    assert encoders.label == "inception (torch-fidelity)" and "299 x 299" in encoders.resizing
    photographs = [photograph("astronaut"), photograph("chelsea")]
    assert [encoders.resized(each).shape for each in photographs] == [(299, 299, 3)] * 2
    features = encoders.encode(photographs)
    assert features.shape == (2, 2048) and np.isfinite(features).all()
    squares = [encoders.resized(each) for each in photographs]
    cosines = encoders.cosines(squares, ["a church", "a picture of the forest"])
    expected = encoders.cosines(squares[1:], ["a picture of the forest"])
    assert cosines[1] == pytest.approx(expected[0], abs=1e-5) and cosines.shape == (2,)
    with pytest.raises(JudgeError, match="name a folder with --clip"):
        photograph_encoders(replace(settings, clip=str(tmp_path / "nothing")), "cpu")
