"""Before and after with one seed per picture, judged by another judge than the one that filtered."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.erasure import bounds
from ear.dataset import find
from ear.evaluation import cases, contact_sheet, evaluate
from ear.evaluation import contact_sheet as sheet
from ear.evaluation import images as pictures
from ear.evaluation import judges as looking
from ear.evaluation.accuracy import share
from ear.evaluation.evaluation import Change, Evaluation
from ear.method import adapter as adapters
from ear.retained_concepts import Topic, others
from ecgvf import judges
from ecgvf.core import concepts, seeds
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, JudgeError, SettingsError
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.filter import stage as filter_stage
from ecgvf.janus import JanusModel, num_threads
from ecgvf.judges import Criterion, JudgeOptions
from ecgvf.publish.export import export
from tests.ear.conftest import Agreeing, Brightness, brightness
from tests.ecgvf.judges.photographs import photograph


@pytest.fixture
def adapter(tiny: JanusModel, tmp_path: Path) -> Path:
    return made(tiny, tmp_path / "run" / "adapter.safetensors")


def made(tiny: JanusModel, file: Path, concept: str = "church", seed: int = 0) -> Path:
    tuned = adapters.fresh(tiny, 1, "qkvo")
    with torch.no_grad():
        for weight in tuned.weights:
            weight.add_(0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
    told = {"concept": concept, "model": tiny.name, "fingerprint": tiny.fingerprint, "sampling": {}}
    tuned.save(file, {**told, "recipe": {"name": "default"}}, tiny.dtype)
    return file


def test_measured_seeds_are_never_those_of_the_filter(dataset: Dataset) -> None:
    drawn = {record.target.seed for record in (*dataset.train, *dataset.test)}
    asked = cases.concept_cases(dataset, 5, seed=0)
    assert [case.prompt for case in asked] == [f"a church by lake {number}" for number in (3, 4, 3, 4, 3)]
    assert len({case.seed for case in asked}) == 5
    assert not drawn & {case.seed for case in asked}
    assert asked[:2] == cases.concept_cases(dataset, 2, seed=0)
    assert asked[0].seed == seeds.derive(0, f"{dataset.test[0].pair.record_id}/0", "evaluate")
    with pytest.raises(DatasetError, match="no accepted test prompt"):
        cases.concept_cases(replace(dataset, test=()), 5, seed=0)


def test_the_judge_that_measures_is_not_the_one_that_filtered(dataset: Dataset) -> None:
    thing = others(dataset)[0]
    assert looking.judge_of(dataset, None) == looking.judge_of(dataset, thing) == "nano-object-b"
    assert looking.judge_of(replace(dataset, judge="nano-object-b"), None) == "nano-object-a"
    style = replace(dataset, concept=concepts.find("van-gogh"), judge="nano-style")
    assert looking.judge_of(style, None) == "nano-style"
    assert looking.judge_of(style, thing) == "nano-object-b"
    assert looking.judge_of(replace(dataset, judge="resnet50"), thing) == "resnet50"
    detected = replace(dataset, concept=concepts.find("nudity"), judge="nudenet")
    assert (looking.judge_of(detected, None), looking.judge_of(detected, thing)) == ("nudenet", "resnet50")


def test_the_user_may_name_the_judge_of_the_concept(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str | None, str, str | None]] = []

    def create_judge(concept: Any, model: str | None, name: str, options: JudgeOptions) -> Brightness:
        asked.append((concept.name if concept else None, name, options.weights))
        return brightness(concept, model, name, options)

    monkeypatch.setattr(looking, "create_judge", create_judge)
    result = evaluate(store, tiny, dataset, [adapter], concept_count=2, other_count=1, judge="clip", weights="folder")
    assert result.judge == "clip"
    assert asked == [("church", "clip", "folder"), (None, "nano-object-b", None)]


def test_the_labels_that_filtered_measure_too_also_in_an_exported_dataset(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, JudgeOptions]] = []

    def create_judge(concept: Any, model: str | None, name: str, options: JudgeOptions) -> Brightness:
        asked.append((name, options))
        return brightness(concept, model, name, options)

    monkeypatch.setattr(looking, "create_judge", create_judge)
    said = JudgeOptions(labels=("church", "mosque"), threshold=0.4, weights="mine.pth", device="cpu")
    wider = Agreeing([True, False] * 3 + [True] * 2)
    wider.criterion = Criterion(label_set="given", accepted=("church", "mosque"), top_k=1, threshold=0.4)
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: wider)
    filter_images(ConceptRun(store, concepts.find("church")), options=said)
    export(store, tmp_path / "out")
    for name in ("ecgvf/church", str(tmp_path / "out")):
        dataset = find(store, name).dataset
        looking.Panel(dataset)
        looking.Panel(dataset, "resnet50")
    measured = ("nano-object-b", JudgeOptions(labels=("church", "mosque"), threshold=0.4))
    assert asked == [measured, ("resnet50", JudgeOptions())] * 2


def test_a_wrong_judge_is_told_before_anything_is_drawn(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "create_judge", judges.create_judge)
    monkeypatch.setattr("ear.evaluation.evaluation.pictures", lambda *_, **__: pytest.fail("something was drawn"))
    with pytest.raises(JudgeError, match="unknown judge 'nobody'"):
        evaluate(store, tiny, dataset, [adapter], concept_count=2, other_count=1, judge="nobody")


def test_a_detector_measures_a_concept_that_no_classifier_knows(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NudeNet, its real weights, on a photograph of a face: a concept of one's own by a detector's labels."""
    pytest.importorskip("nudenet")
    concept = concepts.parse(
        {
            "name": "face",
            "kind": "object",
            "description": "A face.",
            "terms": ["face"],
            "surrogates": ["tree"],
            "judge_labels": {"nudenet": ["FACE_FEMALE"]},
        },
        "test",
    )
    monkeypatch.setattr(looking, "create_judge", judges.create_judge)
    panel = looking.Panel(replace(dataset, concept=concept, judge="nudenet"))
    astronaut = photograph("astronaut")
    shown = np.stack([astronaut, np.zeros_like(astronaut)])
    asked = [cases.Case(None, "a face", seed) for seed in (1, 2)]
    assert panel.seen(asked, shown) == [True, False]


def test_the_concept_and_the_rest_are_measured_before_and_after(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path
) -> None:
    result = evaluate(store, tiny, dataset, [adapter], concept_count=4, other_count=2)
    told = result.json()
    assert told["concept"] == "church"
    assert told["adapter"] == str(adapter)
    assert told["erasure"]["before"]["n"] == told["erasure"]["after"]["n"] == 4
    assert {row["concept"] for row in told["retention"]} == {topic.name for topic in others(dataset)}
    assert {row["concept"] for row in told["retention"] if row["neighbour"]} == {"castle", "mosque", "house", "school"}
    assert all(row["before"]["n"] == 2 for row in told["retention"])
    assert told["neighbours"]["before"]["n"] == 8
    assert told["unrelated"]["before"]["n"] == 2 * (len(told["retention"]) - 4)
    assert len(result.shown) == 4 + 5


def test_what_stacked_adapters_erase_too_is_no_loss(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, tmp_path: Path
) -> None:
    files = [adapter, made(tiny, tmp_path / "cat.safetensors", "cat")]
    result = evaluate(store, tiny, dataset, files, concept_count=1, other_count=1, family="animal", gone={"dog"})
    assert result.concept == "church"
    left = {topic.name for topic in others(dataset) if topic.family == "animal"} - {"cat", "dog"}
    assert {topic.name for topic, _ in result.retention} == left


def test_a_sheet_has_a_column_per_adapter(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, tmp_path: Path
) -> None:
    files = [adapter, made(tiny, tmp_path / "other.safetensors", seed=1)]
    results = [evaluate(store, tiny, dataset, [file], concept_count=2, other_count=0) for file in files]
    with Image.open(contact_sheet(results, ["one", "two"], tmp_path / "sheet.png")) as page:
        assert page.format == "PNG"
        assert page.width == sheet.TEXT + 2 * sheet.GAP + 3 * (sheet.SIDE + sheet.GAP)
        pixels = np.asarray(page)
    row = pixels[2 * sheet.HEADER :][: sheet.SIDE]
    lefts = [sheet.TEXT + 2 * sheet.GAP + number * (sheet.SIDE + sheet.GAP) for number in range(3)]
    original, one, two = (row[:, left : left + sheet.SIDE] for left in lefts)
    small = results[0].shown[0]
    step = sheet.SIDE // len(small.before)
    assert (original[step // 2 :: step, step // 2 :: step] == small.before).all()
    assert (one[step // 2 :: step, step // 2 :: step] == small.after).all()
    assert (one != two).any()


def test_measured_pictures_are_kept(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate(store, tiny, dataset, [adapter], concept_count=4, other_count=1, family="building")
    monkeypatch.setattr(pictures, "render_images", lambda *_, **__: pytest.fail("drawn again"))
    assert evaluate(store, tiny, dataset, [adapter], concept_count=4, other_count=1, family="building") == first


def test_an_interrupted_evaluation_goes_on(
    store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = cases.concept_cases(dataset, 6, seed=0)
    whole = pictures.pictures(store, tiny, dataset, asked, batch_size=2)
    monkeypatch.setattr(pictures, "SHARD", 2)
    other = cases.concept_cases(dataset, 6, seed=1)
    real, calls = pictures.render_images, iter(range(1))

    def cut(*args: object, **settings: object) -> object:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return real(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(pictures, "render_images", cut)
    with num_threads(1), pytest.raises(KeyboardInterrupt):
        pictures.pictures(store, tiny, dataset, other, batch_size=2)
    drawn: list[tuple[int, object, int]] = []

    def watched(*args: Any, **settings: Any) -> object:
        drawn.append((len(args[1]), settings["batch_size"], torch.get_num_threads()))
        return real(*args, **settings)

    monkeypatch.setattr(pictures, "render_images", watched)
    with num_threads(2):  # other circumstances, which do not count any more
        resumed = pictures.pictures(store, tiny, dataset, other, batch_size=1)
    assert drawn == [(2, 2, 1)] * 2
    assert resumed.shape == whole.shape


def test_a_family_that_is_not_there_is_named(store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path) -> None:
    with pytest.raises(SettingsError, match=r"no topics of family 'fungi': there are .*building"):
        evaluate(store, tiny, dataset, [adapter], concept_count=1, family="fungi")
    with pytest.raises(SettingsError, match="0 prompts of the concept"):
        evaluate(store, tiny, dataset, [adapter], concept_count=0)


def test_unsafe_rows_are_blurred() -> None:
    pattern = np.indices((16, 16)).sum(0) % 2 * 255
    images = np.repeat(pattern.astype(np.uint8)[None, :, :, None], 3, axis=-1).repeat(2, axis=0)
    page = np.asarray(
        sheet.sheet([("one", "x"), ("two", "y")], [("original", images)], title="t", blurred=[True, False])
    )
    left, top = sheet.TEXT + 2 * sheet.GAP, 2 * sheet.HEADER
    first = page[top : top + sheet.SIDE, left : left + sheet.SIDE]
    second = page[top + sheet.SIDE + sheet.GAP :][: sheet.SIDE, left : left + sheet.SIDE]
    assert first.std() < 20 < second.std()


def result(after: int, kept: int) -> Evaluation:
    def change(before: int, now: int) -> Change:
        return Change(share([True] * before + [False] * (100 - before)), share([True] * now + [False] * (100 - now)))

    house = Topic("house", "building", True)
    erased = change(98, after)
    return Evaluation(
        "church", False, "janus-nano", (), "default", "j", erased, ((house, change(96, kept)),), erased, erased
    )


def test_bounds_are_over_all_seeds_together() -> None:
    met = bounds([result(10, 92), result(12, 91)])
    assert [one.met for one in met] == [True, True]
    assert met[0].after.n == 200
    assert met[1].bound == pytest.approx(0.95 * 0.96)
    assert [one.met for one in bounds([result(12, 91), result(12, 91)])] == [False, False]
