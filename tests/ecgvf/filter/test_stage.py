from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray

from ecgvf.core import concepts
from ecgvf.core.errors import DatasetError, DeviceFailed, JudgeError, StageMissing, StoreCorrupt, first_line
from ecgvf.core.records import Acceptance, Rendering, Verdict
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import ShardSet
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, VERDICTS
from ecgvf.core.store import Store
from ecgvf.filter import decisions, filter_images
from ecgvf.filter import stage as filter_stage
from ecgvf.filter.acceptance import current_acceptance, judge_options
from ecgvf.filter.clip_score import measure_clip_scores
from ecgvf.filter.dataset import load_dataset
from ecgvf.filter.verdicts import judge_renderings
from ecgvf.judges import JudgeOptions, create_judge
from ecgvf.judges.judge import Prediction
from ecgvf.pairs.generate import generate_pairs
from ecgvf.render import RenderOptions, batches, render, stage
from ecgvf.review.cases import Cases
from tests.ecgvf.small_run import ScriptedJudge, church_pairs, pair, write_images, write_pairs

# target and surrogate of three pairs, then two test prompts
ANSWERS = [True, False, False, False, True, True, True, False]
REASONS = [None, "target_absent", "concept_leaked", None, "target_absent"]


@pytest.fixture
def rendered(run: ConceptRun, model: str) -> ConceptRun:
    """Three pairs and two test prompts, rendered."""
    write_pairs(run.store, church_pairs())
    render(run, RenderOptions(model=model))
    return run


def test_every_record_is_accepted_or_rejected_with_a_reason(rendered: ConceptRun) -> None:
    result = filter_images(rendered, judge=ScriptedJudge(ANSWERS))
    rows = rendered.current(ACCEPTANCE).records(Acceptance)
    assert [row.reason for row in rows] == REASONS
    assert [row.accepted for row in rows] == [reason is None for reason in REASONS]
    assert {split: (result.accepted[split], result.counts[split]) for split in ("train", "test")} == {
        "train": (1, 3),
        "test": (1, 2),
    }
    assert result.reasons == {"target_absent": 2, "concept_leaked": 1}
    assert [verdict.present for verdict in rendered.current(VERDICTS).records(Verdict)] == ANSWERS


def test_a_second_run_judges_nothing(rendered: ConceptRun) -> None:
    first = filter_images(rendered, judge=ScriptedJudge(ANSWERS))
    second = filter_images(rendered, judge=ScriptedJudge([]))
    assert second.acceptance.fingerprint == first.acceptance.fingerprint
    assert second.reasons == first.reasons


def test_images_that_are_judged_are_not_read_again(rendered: ConceptRun, monkeypatch: pytest.MonkeyPatch) -> None:
    result = filter_images(rendered, judge=ScriptedJudge(ANSWERS))
    read_shard, read = ShardSet.read_shard, []

    def recording(self: ShardSet, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        read.append(self.path)
        return read_shard(self, index, columns)

    monkeypatch.setattr(ShardSet, "read_shard", recording)
    assert current_acceptance(rendered).fingerprint == result.acceptance.fingerprint
    assert filter_images(rendered, judge=ScriptedJudge([])).accepted["train"] == 1
    decisions.append(
        rendered,
        reviewer="ada",
        pictures=rendered.current(IMAGES).fingerprint,
        record_id=result.acceptance.records(Acceptance)[0].record_id,
        accepted=False,
    )
    assert current_acceptance(rendered).summary["reviewed"] == 1
    assert len(Cases(rendered).by_id) == len(REASONS)
    assert rendered.current(IMAGES).path not in read


@pytest.mark.parametrize("shard", [0, 2])
def test_nothing_is_measured_on_images_of_which_a_shard_is_lost(
    run: ConceptRun, model: str, monkeypatch: pytest.MonkeyPatch, shard: int
) -> None:
    monkeypatch.setattr(stage, "SHARD_RECORDS", 2)
    write_pairs(run.store, church_pairs())
    images = render(run, RenderOptions(model=model)).images
    lost = images.shard(shard).rename(run.store.root / "lost")
    encoder: Any = SimpleNamespace(weights_hash="0")
    for measure in (
        lambda: filter_images(run, judge=ScriptedJudge(ANSWERS)),
        lambda: measure_clip_scores(images, encoder),
        lambda: render(run, RenderOptions(model=model)),
    ):
        with pytest.raises(StoreCorrupt, match=rf"shard-0000{shard}\.parquet is missing: restore it"):
            measure()
    lost.rename(images.shard(shard))
    filter_images(run, judge=ScriptedJudge(ANSWERS))
    assert [row.reason for row in run.current(ACCEPTANCE).records(Acceptance)] == REASONS


def test_no_dataset_is_made_of_images_that_obey_control_tokens(run: ConceptRun, model: str) -> None:
    write_pairs(run.store, church_pairs(train=1, test=0))
    render(run, RenderOptions(model=model, raw_control_tokens=True))
    assert filter_images(run, judge=ScriptedJudge([True, False])).accepted["train"] == 1
    with pytest.raises(DatasetError, match="--raw-control-tokens"):
        load_dataset(run)


def test_missing_images_are_rendered_first(rendered: ConceptRun) -> None:
    write_pairs(rendered.store, church_pairs(train=1, test=0))
    assert filter_images(rendered, judge=ScriptedJudge([True, False])).accepted["train"] == 1
    assert len(rendered.sets(IMAGES)) == 2


def test_an_unknown_judge_fails_before_rendering(rendered: ConceptRun) -> None:
    write_pairs(rendered.store, church_pairs(train=1, test=0))
    with pytest.raises(JudgeError, match="crystal-ball"):
        filter_images(rendered, judge="crystal-ball")
    assert len(rendered.sets(IMAGES)) == 1


def test_weights_that_cannot_be_read_fail_before_rendering(
    rendered: ConceptRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pairs(rendered.store, church_pairs(train=1, test=0))
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("rendered"))
    (tmp_path / "noise.pth").write_bytes(b"noise")
    with pytest.raises(JudgeError, match=r"cannot read the weights in .*noise\.pth"):
        filter_images(rendered, judge="resnet50", options=JudgeOptions(weights=str(tmp_path / "noise.pth")))


def test_an_older_image_set_is_filtered_with_its_own_pairs(rendered: ConceptRun, model: str) -> None:
    old = rendered.current(IMAGES).fingerprint
    write_pairs(rendered.store, church_pairs(train=1, test=0))
    render(rendered, RenderOptions(model=model))
    assert filter_images(rendered, judge=ScriptedJudge(ANSWERS), set_id=old[:8]).counts["train"] == 3


def test_rejects_of_stage_1_and_failed_renderings_keep_their_reason(run: ConceptRun, model: str) -> None:
    pairs = [
        pair(" ", "a hotel"),
        pair("a church", "a church", reason="duplicate"),
        *church_pairs(train=1, test=0),
    ]
    write_pairs(run.store, pairs)
    render(run, RenderOptions(model=model))
    result = filter_images(run, judge=ScriptedJudge([False, True, False]))
    assert result.reasons == {"duplicate": 1, "render_failed": 1}
    assert result.accepted["train"] == 1


class FailingJudge(ScriptedJudge):
    """Fails on every batch, and on one single image."""

    calls = 0

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        self.calls += 1
        if len(images) > 1 or self.calls == 4:
            raise RuntimeError("no prediction")
        return super().predict(images)


def test_an_image_on_which_the_judge_fails_is_rejected_alone(rendered: ConceptRun) -> None:
    result = filter_images(rendered, judge=FailingJudge([True, False, True, True, False, True, True]))
    assert result.reasons == {"judge_failed": 1}
    assert (result.accepted["train"], result.accepted["test"]) == (2, 2)


class BrokenDevice(ScriptedJudge):
    """Raises ``error`` for batches of more than ``most`` images."""

    def __init__(self, error: Exception, most: int) -> None:
        super().__init__(ANSWERS)
        self.error, self.most = error, most

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        if len(images) > self.most:
            raise self.error
        return super().predict(images)


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: no device\ndetails"),
        RuntimeError("CUDA error: device-side assert triggered\ndetails"),  # before PyTorch 2.8
        torch.OutOfMemoryError("out of memory"),
    ],
)
def test_a_failing_gpu_is_no_failure_of_the_images(rendered: ConceptRun, error: Exception) -> None:
    with pytest.raises(DeviceFailed, match=f"judge scripted failed: {first_line(error)}$"):
        filter_images(rendered, judge=BrokenDevice(error, most=0))
    assert not any(verdicts.shards() for verdicts in rendered.sets(VERDICTS))


def test_a_gpu_that_fails_while_a_judge_or_its_scores_are_made_is_one_line(
    rendered: ConceptRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: busy\ndetails")

    with monkeypatch.context() as patch, pytest.raises(DeviceFailed, match=r"judge failed: CUDA error: busy$"):
        patch.setattr(filter_stage, "create_judge", fail)
        filter_images(rendered)
    encoder: Any = SimpleNamespace(weights_hash="0", device="cuda:0", encode_images=fail)
    with pytest.raises(DeviceFailed, match=r"cuda:0 failed: CUDA error: busy$"):
        measure_clip_scores(rendered.current(IMAGES), encoder)


def test_a_batch_without_memory_is_judged_image_by_image(rendered: ConceptRun) -> None:
    filter_images(rendered, judge=BrokenDevice(torch.OutOfMemoryError("out of memory"), most=1))
    assert [verdict.present for verdict in rendered.current(VERDICTS).records(Verdict)] == ANSWERS


def test_unreadable_images_fail_alone(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    images = write_images(Store(tmp_path / "torn"), concepts.find("church"), [(noise, noise)])
    target, surrogate = images.records(Rendering)
    torn = replace(target, image=target.image[: len(target.image) // 2])
    verdicts = judge_renderings(ScriptedJudge([True]), [torn, surrogate, replace(target, image=b"no image")])
    assert [verdict.failure is None for verdict in verdicts] == [False, True, False]
    assert [verdict.present for verdict in verdicts] == [False, True, False]


# The dataset


@pytest.mark.parametrize("before", [[], ["nano-object-a+nano-object-b"]])
def test_the_judges_options_are_known_whoever_judged_the_images_first(run: ConceptRun, before: list[str]) -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    write_images(run.store, run.concept, [(grey, grey)], model="janus-nano")
    options = JudgeOptions(labels=("church", "castle"))
    for judge in [*before, "nano-object-a"]:
        filter_images(run, judge=judge, options=options, device="cpu")
        assert judge_options(run.current(VERDICTS))["labels"] == ["church", "castle"]
    given = create_judge(run.concept, "janus-nano", "nano-object-a", replace(options, top_k=2), "cpu")
    filter_images(run, judge=given)
    assert judge_options(run.current(VERDICTS)) == {"labels": ["church", "castle"], "top_k": 2}


def test_the_dataset_has_the_accepted_records_with_their_images(rendered: ConceptRun, model: str) -> None:
    filter_images(rendered, judge=ScriptedJudge(ANSWERS))
    dataset = load_dataset(rendered)
    pairs = church_pairs()
    assert [record.pair for record in dataset.train] == [pairs[0]]
    assert [record.pair for record in dataset.test] == [pairs[3]]
    record = dataset.train[0]
    assert record.surrogate is not None
    assert (record.target.role, record.surrogate.role) == ("target", "surrogate")
    assert record.target.seed == record.surrogate.seed and len(record.target.vq_ids) == 16
    assert dataset.test[0].surrogate is None
    assert (dataset.model, dataset.judge, dataset.run_seed) == (model, "scripted", 0)
    assert dataset.sampling.temperature == 1.0


def test_the_concept_of_a_dataset_is_the_one_that_its_fingerprint_stands_for(run: ConceptRun, model: str) -> None:
    generate_pairs(run, pairs=1, validation=0, tests=0)
    render(run, RenderOptions(model=model))
    filter_images(run, judge=ScriptedJudge([True, False]))
    changed = run.concept.model_copy(update={"neighbours": (*run.concept.neighbours, "pagoda"), "unsafe": True})
    dataset = load_dataset(ConceptRun(run.store, changed))
    assert dataset.fingerprint == load_dataset(run).fingerprint
    assert dataset.concept == run.concept.model_copy(update={"unsafe": True})


def test_the_concept_of_a_dataset_has_the_labels_by_which_it_was_filtered(run: ConceptRun, model: str) -> None:
    generate_pairs(run, pairs=1, validation=0, tests=0)
    render(run, RenderOptions(model=model))
    corrected = run.concept.model_copy(update={"judge_labels": {"scripted": ("church",)}})
    later = ConceptRun(run.store, corrected)
    filter_images(later, judge=ScriptedJudge([True, False]))
    assert load_dataset(later).concept.labels("scripted") == ("church",)


def test_an_empty_dataset_gives_the_reasons(rendered: ConceptRun) -> None:
    with pytest.raises(StageMissing, match="ecgvf filter"):
        load_dataset(rendered)
    filter_images(rendered, judge=ScriptedJudge([False] * 8))
    with pytest.raises(DatasetError, match=r"empty.*5 target_absent"):
        load_dataset(rendered)


def test_filter_warns_of_a_judge_that_was_trained_on_other_images(
    run: ConceptRun, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = np.full((8, 8, 3), 128, np.uint8)
    write_images(run.store, run.concept, [(grey, grey)], model="janus-nano")
    photographs = ScriptedJudge([False, True, False])  # first on the blank image of loading
    photographs.name = "resnet50"
    filter_images(run, judge=photographs)
    assert "doubt its verdicts" in capsys.readouterr().err
    filter_images(run, judge=ScriptedJudge([True, False]))
    assert "doubt its verdicts" not in capsys.readouterr().err
