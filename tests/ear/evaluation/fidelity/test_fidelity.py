"""``--figures paper``: FID, KID and CLIP score before and after, from images that are rendered once."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.multimodal import CLIPScore
from transformers import CLIPModel, CLIPProcessor
from typer.testing import CliRunner

from ear.cli import app
from ear.evaluation import Evaluation, EvaluationSettings, compare, evaluate
from ear.evaluation.comparison import differences, same_tasks
from ear.evaluation.fidelity import figures, measure, released_protocol
from ear.evaluation.fidelity.encoders import Encoders, nano_encoders, photograph_encoders
from ear.evaluation.fidelity.features import image_features
from ear.evaluation.fidelity.measure import FidelityMeasurement
from ear.evaluation.fidelity.settings import FidelitySettings
from ear.evaluation.table import document
from ear.method.open_adapter import open_adapter
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, JudgeError, SettingsError
from ecgvf.core.png import encode
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling, generation_ids, render_images
from ecgvf.judges.clip import Encoder
from ecgvf.render import batches
from tests import random_clip
from tests.ear.evaluation.fidelity.random_features import feature_set, gaussian, random_state
from tests.ear.random_adapter import save_adapter
from tests.ecgvf.judges.photographs import photograph

PAPER = EvaluationSettings(
    prompts_per_concept=2, prompts_per_other=0, figures="paper", fidelity=FidelitySettings(captions=20)
)


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
    assert "nano: KID" in document([measured], ["after"], "markdown")
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
    assert paper["protocol"] == list(released_protocol.PROTOCOL)
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
    before, after = (np.concatenate(list(each.batches())) for each in (clean, lossy))
    assert before.shape == after.shape and not np.allclose(before, after)


def test_compared_adapters_have_the_paired_differences_of_these_figures(
    store: Store, tiny: JanusModel, dataset: Dataset, adapter: Path, tmp_path: Path
) -> None:
    other = save_adapter(tiny, tmp_path / "other" / "adapter.safetensors", seed=1)
    first, second = compare(store, tiny, dataset, [adapter, other], PAPER)
    assert first.fidelity is not None and second.fidelity is not None
    rows = {row.figure: row for row in differences(first, second) if row.group == "nano"}
    for old, new in zip(first.fidelity.rows, second.fidelity.rows, strict=True):
        row = rows[new.figure]
        assert (row.before, row.after) == (old.after, new.after)
        assert row.change.value == pytest.approx(new.after.value - old.after.value)
        assert row.change.low < row.change.value < row.change.high
    same = differences(first, first)
    assert all(row.change.low == row.change.value == row.change.high == 0 for row in same if row.group == "nano")
    # Files have them as well.
    files = [each.save(tmp_path / f"{name}.parquet") for name, each in (("a", first), ("b", second))]
    loaded = differences(*map(Evaluation.load, files))
    assert {row.figure: row for row in loaded if row.group == "nano"} == rows
    result = CliRunner().invoke(app, ["compare", *map(str, files), "--format", "csv"])
    [row_of_fid] = [row for row in csv.reader(result.stdout.splitlines()) if row[:1] == ["general captions: nano: FID"]]
    fid = rows["fid"].change
    assert f"{fid.value:+.3f} [{fid.low:+.3f}, {fid.high:+.3f}]" in row_of_fid


def test_a_difference_is_narrower_than_that_of_other_captions(tmp_path: Path) -> None:
    """It is paired: what two sets of images share does not widen it."""
    shared = gaussian(200, 4, 0)
    first, second, reference = (
        feature_set(tmp_path / str(index), rows)
        for index, rows in enumerate([shared, shared * 1.01, gaussian(200, 4, 1)])
    )
    old, new = figures.frechet(first, second, reference)
    paired, own = old.difference(new), old.figure()
    assert paired.high - paired.low < (own.high - own.low) / 5


def test_figures_of_other_captions_are_not_compared(
    store: Store, tiny: JanusModel, dataset: Dataset, adapter: Path, tmp_path: Path
) -> None:
    with_captions = evaluate(store, tiny, dataset, [adapter], PAPER)
    assert with_captions.fidelity is not None
    same_tasks([with_captions, with_captions], ["a", "b"])
    other_list = replace(with_captions.fidelity, hashes={**with_captions.fidelity.hashes, "captions": "of other ones"})
    for other in (None, other_list):
        with pytest.raises(DatasetError, match="b has FID, KID and CLIP score of other captions"):
            same_tasks([with_captions, replace(with_captions, fidelity=other)], ["a", "b"])


class TensorClip(CLIPModel):
    """Features as tensors, as transformers 4 had them and torchmetrics expects them."""

    def get_image_features(self, *args: Any, **inputs: Any) -> Any:
        return super().get_image_features(*args, **inputs).pooler_output

    def get_text_features(self, *args: Any, **inputs: Any) -> Any:
        return super().get_text_features(*args, **inputs).pooler_output


class Damaged(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 2), torch.nan)


def test_clip_score_is_that_of_torchmetrics(tmp_path: Path) -> None:
    clip = str(random_clip.build(tmp_path / "clip"))
    encoders = replace(nano_encoders(), clip=Encoder(clip))
    images = [np.array(Image.fromarray(photograph(name)).resize((64, 64))) for name in ("astronaut", "chelsea")]
    texts = ["a church", "a picture of the forest"]
    theirs = CLIPScore(lambda: (TensorClip.from_pretrained(clip), CLIPProcessor.from_pretrained(clip)))
    expected = [
        float(theirs(torch.from_numpy(pixels).permute(2, 0, 1), text).detach())
        for pixels, text in zip(images, texts, strict=True)
    ]
    found = [max(0.0, 100 * float(cosine)) for cosine in encoders.cosines(images, texts)]
    assert found == pytest.approx(expected, rel=1e-3) and max(found) > 0


def test_features_that_are_not_finite_are_one_line() -> None:
    encoders = replace(nano_encoders(), features=Damaged())
    with pytest.raises(JudgeError, match=r"nano's CLIP, .* not finite"):
        encoders.encode([photograph("astronaut")])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--coco x.csv", "--coco FILE and --coco-images DIR belong together"),
        ("--captions 20", "--captions is for --figures paper"),
        ("--figures paper --column text", "--column text is of the file of captions: name it with --coco"),
        ("--figures paper --clip x", "--clip: nano's figures are of its own features"),
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
        FidelityMeasurement.open(store, tiny, photographs, FidelitySettings(), 0)
    rows = "".join(f"{number},a cat\n" for number in range(20))
    (tmp_path / "coco.csv").write_text(f"image_id,prompt\n{rows}")
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(b"")
    settings = FidelitySettings(coco=tmp_path / "coco.csv", coco_images=tmp_path)
    with pytest.raises(SettingsError, match="name torch-fidelity's or torchvision's with --inception"):
        FidelityMeasurement.open(store, tiny, photographs, settings, 0)
    settings = replace(settings, inception=tmp_path / "nothing.pth")
    with pytest.raises(JudgeError, match=r"no weights at .*: correct --inception"):
        FidelityMeasurement.open(store, tiny, photographs, settings, 0)
    with pytest.raises(SettingsError, match="--inception: nano's figures are of its own features"):
        FidelityMeasurement.open(store, tiny, dataset, settings, 0)
    with pytest.raises(DatasetError, match=r"\.png cannot be read as an image \(no known image format\): replace it"):
        FidelityMeasurement.open(store, tiny, dataset, replace(settings, inception=None), 0)
    (tmp_path / "coco.csv").write_text(f"image_id,prompt\n{rows}".replace("7,a cat", f"7,{'cat ' * 5000}"))
    with pytest.raises(DatasetError, match=r"coco\.csv: 'cat cat .*' cannot be rendered: the prompt has .* tokens"):
        FidelityMeasurement.open(store, tiny, dataset, replace(settings, inception=None), 0)


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


class FewDimensions(torch.nn.Module):
    """The first 64 of Inception's: FID of all 2,048 with its interval takes minutes."""

    def __init__(self, inception: torch.nn.Module) -> None:
        super().__init__()
        self.inception = inception

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.inception(images)[:, :64]
        return features


@pytest.mark.slow
def test_outside_nanos_world_the_figures_are_of_inception_and_clip(
    store: Store, tiny: JanusModel, dataset: Dataset, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encoders(settings: FidelitySettings, device: str) -> Encoders:
        whole = photograph_encoders(settings, device)
        return replace(whole, features=FewDimensions(whole.features))

    monkeypatch.setattr(measure, "photograph_encoders", encoders)
    torch.save(random_state(1008, aux=False), tmp_path / "inception.pth")
    (tmp_path / "val2014").mkdir()
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 50 + number, 3), dtype=np.uint8)
        (tmp_path / "val2014" / f"COCO_val2014_{number:012d}.png").write_bytes(encode(pixels))
    rows = "".join(f"{number},a picture of the forest,{number}\n" for number in range(20))
    (tmp_path / "coco.csv").write_text(f"image_id,prompt,evaluation_seed\n{rows}")
    settings = FidelitySettings(
        coco=tmp_path / "coco.csv",
        coco_images=tmp_path / "val2014",
        inception=tmp_path / "inception.pth",
        clip=str(random_clip.build(tmp_path / "clip")),
    )
    measurement = FidelityMeasurement.open(store, tiny, replace(dataset, judge="resnet50"), settings, 0)
    measured = measurement.measure(store, tiny, open_adapter(tiny, [adapter]), "0", None)
    assert [(row.figure, row.group) for row in measured.rows] == [
        (figure, "inception (torch-fidelity)") for figure in ("fid", "kid", "clip_score")
    ]
    assert all(np.isfinite([row.before.value, row.after.value, row.change.high]).all() for row in measured.rows)
    assert measured.rows[0].before.value != measured.rows[0].after.value > 0
    assert "seeds of coco.csv" in measured.description and "299 x 299" in measured.description
    assert len(set(measured.hashes.values())) == 4


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
