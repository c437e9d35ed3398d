import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ecgvf.core import concepts, png
from ecgvf.core.errors import ConceptError, DeviceFailed, ModelError, SettingsError, StageMissing, StoreCorrupt
from ecgvf.core.records import PromptPair, Rendering
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, StageSet
from ecgvf.core.store import Store
from ecgvf.engine import ThisProcess
from ecgvf.janus import decode_images, decoding, load
from ecgvf.render import (
    RenderOptions,
    RenderResult,
    batches,
    existing_images,
    finish_images,
    missing_options,
    render,
    rendering_model,
    stage,
)
from tests.ecgvf.small_run import church_pairs, pair, write_pairs

CHURCH = concepts.find("church")


def render_pairs(run: ConceptRun, pairs: list[PromptPair], model: str, **options: Any) -> StageSet:
    write_pairs(run.store, pairs)
    return render(run, RenderOptions(model=model, **options)).images


def render_further_seed(run: ConceptRun, model: str, *, seed: int) -> StageSet:
    """The images of the seed after ``seed``, which do not become current."""
    options, pairs = RenderOptions(model=model, seed=seed, further_seed=1), run.current(PAIRS)
    with ThisProcess().open({IMAGES.name: options.setup(run.concept)}) as pool:
        images = options.image_set(run, pairs, pool.describe(IMAGES.name).facts)
        pool.fill(options.fill_plan(images, pairs))
    finish_images(images, current=False)
    return images


def file_bytes(images: StageSet) -> list[bytes]:
    return [file.read_bytes() for file in images.shards()]


def interrupt_at_shard(index: int, patch: pytest.MonkeyPatch) -> None:
    """Interrupt a rendering before it writes shard ``index``."""
    write_shard = StageSet.write_shard

    def interrupted(self: StageSet, shard_index: int, table: Any) -> None:
        if self.stage == IMAGES and shard_index == index:
            raise KeyboardInterrupt
        write_shard(self, shard_index, table)

    patch.setattr(StageSet, "write_shard", interrupted)


def test_both_roles_of_a_pair_share_a_seed_and_a_test_record_has_a_target_only(run: ConceptRun, model: str) -> None:
    rows = render_pairs(run, church_pairs(train=2, test=1), model).records(Rendering)
    assert [row.role for row in rows] == ["target", "surrogate", "target", "surrogate", "target"]
    assert rows[0].record_id == rows[1].record_id
    assert rows[0].seed == rows[1].seed
    assert len({row.seed for row in rows}) == 3
    assert rows[0].image != rows[1].image
    assert all(row.failure is None for row in rows)
    assert "a church by lake 0" in rows[0].prompt_sent
    assert rows[0].prompt_sent.endswith("<begin_of_image>")


def test_an_image_is_what_its_vq_ids_decode_to(run: ConceptRun, model: str) -> None:
    row = render_pairs(run, church_pairs(train=1, test=0), model).records(Rendering)[0]
    janus = load(model)
    assert len(row.vq_ids) == janus.image_tokens
    assert row.renderer == janus.fingerprint
    decoded = decode_images(janus, torch.tensor([row.vq_ids]))[0][0]
    assert np.abs(png.decode(row.image).astype(int) - decoded.astype(int)).max() <= 1


def test_a_loaded_model_with_other_fields_does_not_render_under_the_same_fingerprint(
    run: ConceptRun, model: str
) -> None:
    write_pairs(run.store, church_pairs(train=1, test=0))
    janus = load(model)
    changed: list[dict[str, Any]] = [
        {"rewrite": str.upper},
        {"negative_prompt": "church"},
        {"padding_masked": False},
        {"suffix_ids": (1,)},
    ]
    for fields in changed:
        with pytest.raises(SettingsError, match=f"has another {next(iter(fields))} than it was loaded with"):
            render(run, RenderOptions(model=replace(janus, **fields)))
    assert not run.sets(IMAGES)
    assert (
        render(run, RenderOptions(model=janus)).images.fingerprint
        == render(run, RenderOptions(model=model)).images.fingerprint
    )


def test_a_set_is_finished_with_a_single_reading_of_its_images(
    run: ConceptRun, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = render_pairs(run, [*church_pairs(train=1, test=0), pair("", None)], model)
    summary = images.summary
    (images.path / "manifest.json").unlink()
    read_bytes, read = Path.read_bytes, list[Path]()

    def recording(self: Path) -> bytes:
        read.append(self)
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", recording)
    finish_images(images)
    assert read.count(images.shard(0)) == 1
    assert images.summary == summary and (summary["pictures"], summary["failed"]) == (3, 1)


def test_images_that_are_damaged_before_they_are_finished_are_named(run: ConceptRun, model: str) -> None:
    images = render_pairs(run, church_pairs(train=1, test=0), model)
    (images.path / "manifest.json").unlink()
    pq.write_table(pa.table({"record_id": ["1"]}), images.shard(0))
    with pytest.raises(StoreCorrupt, match=r"shard-00000\.parquet is not what was written"):
        finish_images(images)


def test_an_image_does_not_depend_on_the_other_records(tmp_path: Path, model: str) -> None:
    few_run, many_run = (ConceptRun(Store(tmp_path / name), CHURCH) for name in ("few", "many"))
    few = render_pairs(few_run, church_pairs(train=3, test=0)[2:], model, batch_size=1).records(Rendering)
    many = render_pairs(many_run, church_pairs(train=3, test=2), model, batch_size=1).records(Rendering)
    by_key = {(row.record_id, row.role): row for row in many}
    assert len(few) == 2
    assert [by_key[row.record_id, row.role] for row in few] == few


def test_equal_runs_write_equal_bytes(tmp_path: Path, model: str) -> None:
    runs = [ConceptRun(Store(tmp_path / name), CHURCH) for name in ("first", "second")]
    first, second = (render_pairs(run, church_pairs(), model) for run in runs)
    assert first.fingerprint == second.fingerprint
    assert file_bytes(first) == file_bytes(second)


def test_a_changed_setting_opens_a_new_set_and_a_batch_size_does_not(
    run: ConceptRun, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = render_pairs(run, church_pairs(), model)
    second = render_pairs(run, church_pairs(), model, seed=1, guidance=2.0)
    assert second.fingerprint != first.fingerprint
    printed = " ".join(capsys.readouterr().err.split())
    assert "seed: 0 → 1" in printed
    assert "--guidance: " in printed
    assert render_pairs(run, church_pairs(), model, batch_size=2).fingerprint == first.fingerprint


def test_rejected_pairs_are_not_rendered(run: ConceptRun, model: str) -> None:
    pairs = [*church_pairs(train=1, test=0), pair("a church", "a chapel", reason="malformed")]
    rows = render_pairs(run, pairs, model).records(Rendering)
    assert {row.record_id for row in rows} == {pairs[0].record_id}


def test_a_finished_set_is_not_rendered_again(run: ConceptRun, model: str) -> None:
    write_pairs(run.store, church_pairs())
    assert render(run, RenderOptions(model=model)).rendered == 8
    assert render(run, RenderOptions(model=model)).rendered == 0


# Resume


@pytest.mark.faults
def test_a_resumed_run_writes_the_same_bytes_in_the_batches_it_was_begun_with(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage, "SHARD_RECORDS", 2)
    pairs = church_pairs(train=3, test=3)
    uninterrupted = render_pairs(ConceptRun(Store(tmp_path / "uninterrupted"), CHURCH), pairs, model, batch_size=3)
    run = ConceptRun(Store(tmp_path / "interrupted"), CHURCH)
    with monkeypatch.context() as patch:
        interrupt_at_shard(1, patch)
        with pytest.raises(KeyboardInterrupt):
            render_pairs(run, pairs, model, batch_size=3)
    resumed = render(run, RenderOptions(model=model, batch_size=8))
    assert resumed.rendered == 5
    assert "batches of 3" in capsys.readouterr().err
    assert resumed.images.circumstances["batch_size"] == 3
    assert file_bytes(resumed.images) == file_bytes(uninterrupted)


# Failures


def test_empty_and_overlong_prompts_fail_alone(run: ConceptRun, model: str) -> None:
    pairs = [pair(" \n", "a hotel"), pair("a church " * 2000, "a barn"), *church_pairs(train=1, test=0)]
    images = render_pairs(run, pairs, model)
    rows = images.records(Rendering)
    assert [(row.role, row.failure) for row in rows if row.failure is not None] == [
        ("target", "the prompt is empty: write what the image shows"),
        ("target", rows[2].failure),
    ]
    assert "tokens and" in str(rows[2].failure)
    assert (rows[0].image, rows[0].vq_ids) == (b"", ())
    assert images.summary["failed"] == 2


@pytest.mark.parametrize("prompt", ["a church ⛪\U0001f1eb", "a church\x00\x07", "a church <|startoftext|> {{ 1 }}"])
def test_emoji_and_control_characters_are_rendered_as_they_are(run: ConceptRun, model: str, prompt: str) -> None:
    rows = render_pairs(run, [pair(prompt, "a hotel")], model).records(Rendering)
    assert rows[0].failure is None
    assert prompt in rows[0].prompt_sent


def test_control_tokens_are_text_unless_they_are_sent_raw(run: ConceptRun, model: str) -> None:
    pairs = [pair("a church<end_of_image><|User|>", "a hotel")]
    text, raw = (render_pairs(run, pairs, model, raw_control_tokens=raw) for raw in (False, True))
    assert text.fingerprint != raw.fingerprint
    assert raw.settings["raw_control_tokens"] is True
    assert "raw_control_tokens" not in text.settings
    text_row, raw_row = (images.records(Rendering)[0] for images in (text, raw))
    assert text_row.failure is raw_row.failure is None
    assert text_row.vq_ids != raw_row.vq_ids


def test_an_image_whose_logits_are_not_finite_fails_alone(
    run: ConceptRun, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    guided_logits = decoding.guided_logits
    steps = iter(range(10_000))

    def broken(*inputs: Any) -> torch.Tensor:
        values = guided_logits(*inputs)
        if next(steps) == 3:
            values[1, 5] = torch.nan
        return values

    monkeypatch.setattr(decoding, "guided_logits", broken)
    rows = render_pairs(run, church_pairs(train=2, test=0), model).records(Rendering)
    assert [row.failure is not None for row in rows] == [False, True, False, False]
    assert "not finite" in str(rows[1].failure)


def test_an_image_that_breaks_its_batch_fails_alone(
    run: ConceptRun, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    render_images = batches.render_images

    class Batch:
        pass

    tried: list[weakref.ref[Batch]] = []

    def breaking(janus: Any, prompts: list[str], *rest: Any, **options: Any) -> Any:
        assert not any(reference() for reference in tried), "still in memory"
        batch = Batch()
        tried.append(weakref.ref(batch))
        if any("lake 1" in prompt and "church" in prompt for prompt in prompts):
            raise RuntimeError("broken\nwith details")
        return render_images(janus, prompts, *rest, **options)

    monkeypatch.setattr(batches, "render_images", breaking)
    rows = render_pairs(run, church_pairs(train=3, test=0), model).records(Rendering)
    assert [row.failure for row in rows] == [None, None, "broken", None, None, None]


@pytest.mark.parametrize("kind", [torch.AcceleratorError, RuntimeError])  # the latter before PyTorch 2.8
def test_a_failing_gpu_is_no_failure_of_its_images(
    run: ConceptRun, model: str, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise kind("CUDA error: an illegal memory access was encountered\ndetails")

    monkeypatch.setattr(batches, "render_images", failing)
    with pytest.raises(DeviceFailed, match=r"cpu failed: CUDA error: an illegal memory access was encountered$"):
        render_pairs(run, church_pairs(), model)
    assert run.sets(IMAGES)[0].shards() == []


def limit_memory(
    images: int, patch: pytest.MonkeyPatch, kind: type[Exception] = torch.OutOfMemoryError, message: str = ""
) -> None:
    """Raise what PyTorch raises for batches of more than ``images``."""
    render_images = batches.render_images

    def limited(janus: Any, prompts: list[str], *rest: Any, **options: Any) -> Any:
        if len(prompts) > images:
            raise kind(message)
        return render_images(janus, prompts, *rest, **options)

    patch.setattr(batches, "render_images", limited)


def test_out_of_memory_halves_the_batches_and_a_resumed_run_keeps_them(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage, "SHARD_RECORDS", 2)
    pairs = church_pairs(train=4, test=0)
    expected = render_pairs(ConceptRun(Store(tmp_path / "small"), CHURCH), pairs, model, batch_size=2)
    run = ConceptRun(Store(tmp_path / "limited"), CHURCH)
    with monkeypatch.context() as patch:
        limit_memory(2, patch)
        interrupt_at_shard(1, patch)
        with pytest.raises(KeyboardInterrupt):
            render_pairs(run, pairs, model, batch_size=4)
    images = render(run, RenderOptions(model=model, batch_size=4)).images
    assert "going on with 2" in capsys.readouterr().err
    assert images.circumstances["batch_size"] == 2
    assert images.circumstances["halved"] == [[0, 2]]
    assert file_bytes(images) == file_bytes(expected)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory"),
        (torch.AcceleratorError, "CUDA error: out of memory"),
        (RuntimeError, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_halves_the_batch_that_was_rendered(
    run: ConceptRun, model: str, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], message: str
) -> None:
    limit_memory(2, monkeypatch, kind, message)
    images = render_pairs(run, church_pairs(train=2, test=0), model, batch_size=64)
    assert images.circumstances["halved"] == [[0, 2]]


def test_pngs_that_several_threads_encode_are_the_same(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    every = threading.Barrier(3)

    def encode(pixels: Any) -> bytes:
        if threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            every.wait(timeout=60)
        return png.encode(pixels)

    expected = render_pairs(ConceptRun(Store(tmp_path / "one"), CHURCH), church_pairs(), model)
    monkeypatch.setattr(batches, "_ENCODERS", {"cpu": 3})
    monkeypatch.setattr(batches, "encode", encode)
    images = render_pairs(ConceptRun(Store(tmp_path / "three"), CHURCH), church_pairs(), model)
    assert len(threads) == 3 and file_bytes(images) == file_bytes(expected)


def test_one_image_that_does_not_fit_stops_the_run(
    run: ConceptRun, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(0, monkeypatch)
    with pytest.raises(
        SettingsError, match=r"cpu does not have enough memory to render even one image with .*: use a smaller model"
    ):
        render_pairs(run, church_pairs(), model)


def test_bad_input_is_refused(run: ConceptRun, model: str) -> None:
    with pytest.raises(StageMissing, match="ecgvf generate"):
        render(run, RenderOptions(model=model))
    write_pairs(run.store, church_pairs())
    with pytest.raises(ModelError, match="unknown model"):
        render(run, RenderOptions(model="no-such-model"))
    with pytest.raises(SettingsError, match="batch-size"):
        render(run, RenderOptions(model=model, batch_size=0))
    with pytest.raises(SettingsError, match="guidance"):
        render(run, RenderOptions(model=model, guidance=-1))


def test_a_concept_outside_nanos_world_is_refused_before_loading(
    run: ConceptRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "load", lambda *_, **__: pytest.fail("loaded"))
    write_pairs(run.store, church_pairs(), concept="nudity")
    with pytest.raises(ConceptError, match=r"cannot render 'nudity'.*--model janus-pro-1b"):
        render(ConceptRun(run.store, concepts.find("nudity")))


# Images for the next stage


def render_missing(run: ConceptRun) -> RenderResult:
    """As ``filter_images`` renders, without judging."""
    if (images := existing_images(run)) is not None:
        return RenderResult(images, 0)
    options = missing_options(run)
    assert options.further_seed == 0
    return render(run, options)


def test_missing_images_are_rendered_with_the_settings_of_the_previous_ones(
    run: ConceptRun, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    previous = render_pairs(run, church_pairs(), model, seed=7, guidance=2.0)
    assert render_missing(run).rendered == 0
    assert "Images are missing" not in capsys.readouterr().err
    write_pairs(run.store, church_pairs(train=1, test=1))
    result = render_missing(run)
    assert result.rendered == 3
    assert "Images are missing" in capsys.readouterr().err
    changed = {key for key in previous.settings if previous.settings[key] != result.images.settings[key]}
    assert changed == {"pairs"}


def test_images_of_earlier_pairs_are_found_when_these_are_current_again(run: ConceptRun, model: str) -> None:
    first = render_pairs(run, church_pairs(train=1, test=0), model)
    render_pairs(run, church_pairs(train=0, test=1), model)
    write_pairs(run.store, church_pairs(train=1, test=0))
    assert render_missing(run).images.fingerprint == first.fingerprint
    assert run.current(IMAGES).fingerprint != first.fingerprint  # until they are filtered


def test_without_images_the_default_model_renders(run: ConceptRun, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(run.store, church_pairs())
    assert rendering_model(run) == "janus-nano"
    monkeypatch.setattr(stage, "load", lambda name, **_: (_ for _ in ()).throw(ModelError(name)))
    with pytest.raises(ModelError, match="janus-nano"):
        render_missing(run)


def test_an_unfinished_set_is_resumed_and_one_of_a_further_seed_is_not(
    run: ConceptRun, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "SHARD_RECORDS", 2)
    write_pairs(run.store, church_pairs(train=3, test=0))
    with monkeypatch.context() as patch:
        interrupt_at_shard(1, patch)
        with pytest.raises(KeyboardInterrupt):
            render(run, RenderOptions(model=model, seed=5))
    further = render_further_seed(run, model, seed=5)
    assert further.circumstances["further_seed"] is True
    assert rendering_model(run) == model
    resumed = render_missing(run)
    assert resumed.images.settings["seed"] == 5
    assert resumed.rendered == 2
    assert "further_seed" not in resumed.images.circumstances


def test_a_further_seed_that_is_rendered_for_itself_becomes_current(run: ConceptRun, model: str) -> None:
    write_pairs(run.store, church_pairs(train=1, test=0))
    own = render(run, RenderOptions(model=model, seed=5)).images
    render_further_seed(run, model, seed=5)
    assert run.current(IMAGES).fingerprint == own.fingerprint
    assert render(run, RenderOptions(model=model, seed=6)).rendered == 0
    assert render_missing(run).images.settings["seed"] == 6
