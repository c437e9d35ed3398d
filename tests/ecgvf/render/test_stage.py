from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecgvf.core import concepts, png
from ecgvf.core.errors import ConceptError, ModelError, SettingsError, StageMissing
from ecgvf.core.records import PromptPair, Rendering
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, StageSet
from ecgvf.core.store import Store
from ecgvf.janus import load
from ecgvf.janus.pixels import decode as pixels_of
from ecgvf.render import render, render_missing, stage
from tests.ecgvf.small_run import church_pairs, pair, write_pairs
from tests.random_janus import build

CHURCH = concepts.find("church")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("janus")))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def renderings(of: StageSet) -> list[Rendering]:
    return of.records(Rendering)


def draw(store: Store, pairs: list[PromptPair], model: str, **options: Any) -> StageSet:
    write_pairs(store, pairs)
    return render(ConceptRun(store, CHURCH), model=model, **options).stage


def test_both_roles_of_a_pair_are_drawn_with_one_seed_and_a_test_record_has_a_target_only(
    store: Store, model: str
) -> None:
    drawn = renderings(draw(store, church_pairs(train=2, test=1), model))
    assert [one.role for one in drawn] == ["target", "surrogate", "target", "surrogate", "target"]
    assert drawn[0].record_id == drawn[1].record_id and drawn[0].seed == drawn[1].seed
    assert len({one.seed for one in drawn}) == 3
    assert drawn[0].image != drawn[1].image
    assert all(one.failure is None for one in drawn)
    assert "a church by lake 0" in drawn[0].prompt_sent and drawn[0].prompt_sent.endswith("<begin_of_image>")


def test_the_picture_is_what_its_vq_ids_decode_to(store: Store, model: str) -> None:
    one = renderings(draw(store, church_pairs(train=1, test=0), model))[0]
    janus = load(model)
    assert len(one.vq_ids) == janus.image_tokens
    assert one.renderer == janus.fingerprint
    again = pixels_of(janus, torch.tensor([one.vq_ids]))[0]
    assert np.abs(png.decode(one.image).astype(int) - again.astype(int)).max() <= 1


def test_a_picture_does_not_depend_on_which_other_records_there_are(tmp_path: Path, model: str) -> None:
    few = renderings(draw(Store(tmp_path / "few"), church_pairs(train=3, test=0)[2:], model, batch_size=1))
    many = renderings(draw(Store(tmp_path / "many"), church_pairs(train=3, test=2), model, batch_size=1))
    by_id = {(one.record_id, one.role): one for one in many}
    assert all(by_id[one.record_id, one.role] == one for one in few)


def test_equal_runs_write_equal_bytes(tmp_path: Path, model: str) -> None:
    sets = [draw(Store(tmp_path / name), church_pairs(), model) for name in ("one", "two")]
    assert sets[0].fingerprint == sets[1].fingerprint
    assert [file.read_bytes() for file in sets[0].shards()] == [file.read_bytes() for file in sets[1].shards()]


def test_settings_that_change_pictures_open_a_new_set(
    store: Store, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = draw(store, church_pairs(), model)
    second = draw(store, church_pairs(), model, seed=1, guidance=2.0)
    assert second.fingerprint != first.fingerprint
    said = " ".join(capsys.readouterr().out.split())
    assert "seed: 0 → 1" in said and "sampling.guidance" in said
    assert draw(store, church_pairs(), model, batch_size=2).fingerprint == first.fingerprint


def test_stage_1s_rejects_are_not_drawn(store: Store, model: str) -> None:
    pairs = [*church_pairs(train=1, test=0), pair("a church", "a chapel", reason="malformed")]
    assert {one.record_id for one in renderings(draw(store, pairs, model))} == {pairs[0].record_id}


def test_a_finished_set_is_not_drawn_again(store: Store, model: str) -> None:
    write_pairs(store, church_pairs())
    assert render(ConceptRun(store, CHURCH), model=model).fresh == 8
    assert render(ConceptRun(store, CHURCH), model=model).fresh == 0


# Resume


@pytest.mark.faults
def test_interrupted_and_run_again_it_gives_the_same_bytes_in_the_batches_it_began_with(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "SHARD_RECORDS", 2)
    pairs = church_pairs(train=3, test=3)
    whole = draw(Store(tmp_path / "whole"), pairs, model, batch_size=3)
    store = Store(tmp_path / "cut")
    original, written = StageSet.write_shard, []

    def cut(self: StageSet, index: int, table: Any) -> None:
        if self.stage == IMAGES and index == 1:
            raise KeyboardInterrupt
        written.append(index)
        original(self, index, table)

    with monkeypatch.context() as patch:
        patch.setattr(StageSet, "write_shard", cut)
        with pytest.raises(KeyboardInterrupt):
            draw(store, pairs, model, batch_size=3)
    resumed = render(ConceptRun(store, CHURCH), model=model, batch_size=8)
    assert resumed.fresh == 5
    assert resumed.stage.manifest["circumstances"]["batch_size"] == 3
    assert [file.read_bytes() for file in resumed.stage.shards()] == [file.read_bytes() for file in whole.shards()]


# Failures


def test_a_prompt_that_cannot_be_asked_fails_alone(store: Store, model: str) -> None:
    pairs = [pair("a church <begin_of_image>", "a hotel"), *church_pairs(train=1, test=0)]
    drawn = renderings(draw(store, pairs, model))
    assert drawn[0].failure is not None and "special token" in drawn[0].failure
    assert drawn[0].image == b"" and drawn[0].vq_ids == ()
    assert all(one.failure is None for one in drawn[1:])
    assert ConceptRun.load(store, "church").current(IMAGES).summary["failed"] == 1


def test_a_picture_that_breaks_its_batch_fails_alone(store: Store, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = stage.draw

    def breaking(janus: Any, prompts: list[str], *rest: Any, **options: Any) -> Any:
        if any("lake 1" in prompt and "church" in prompt for prompt in prompts):
            raise RuntimeError("a bad day\nwith details")
        return original(janus, prompts, *rest, **options)

    monkeypatch.setattr(stage, "draw", breaking)
    drawn = renderings(draw(store, church_pairs(train=3, test=0), model))
    assert [one.failure for one in drawn] == [None, None, "a bad day", None, None, None]


def test_no_memory_stops_the_run_and_a_smaller_batch_may_be_tried(
    store: Store, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def no_memory(*_: Any, **__: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

        patch.setattr(stage, "draw", no_memory)
        with pytest.raises(SettingsError, match="smaller --batch-size"):
            draw(store, church_pairs(), model)
    assert draw(store, church_pairs(), model, batch_size=2).manifest["circumstances"]["batch_size"] == 2


def test_bad_input(store: Store, model: str) -> None:
    with pytest.raises(StageMissing, match="ecgvf generate"):
        render(ConceptRun(store, CHURCH), model=model)
    write_pairs(store, church_pairs())
    with pytest.raises(ModelError, match="unknown model"):
        render(ConceptRun(store, CHURCH), model="no-such-model")
    with pytest.raises(SettingsError, match="batch-size"):
        render(ConceptRun(store, CHURCH), model=model, batch_size=0)
    with pytest.raises(SettingsError, match="guidance"):
        render(ConceptRun(store, CHURCH), model=model, guidance=-1)


def test_what_nano_cannot_draw_is_said_before_anything_is_loaded(store: Store) -> None:
    write_pairs(store, church_pairs(), concept="nudity")
    with pytest.raises(ConceptError, match=r"cannot draw 'nudity'.*--model janus-pro-1b"):
        render(ConceptRun(store, concepts.find("nudity")))


# Drawing what the next stage needs


def test_what_is_missing_goes_on_with_the_model_sampling_and_seed_it_was_begun_with(
    store: Store, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = draw(store, church_pairs(), model, seed=7, guidance=2.0)
    assert render_missing(ConceptRun(store, CHURCH)).fresh == 0
    assert "drawn yet" not in capsys.readouterr().out
    write_pairs(store, church_pairs(train=1, test=1))
    again = render_missing(ConceptRun(store, CHURCH))
    assert again.fresh == 3
    assert "drawn yet" in capsys.readouterr().out
    changed = {key for key in first.settings if first.settings[key] != again.stage.settings[key]}
    assert changed == {"pairs"}


def test_where_nothing_was_drawn_the_default_model_draws(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(store, church_pairs())
    monkeypatch.setattr(stage, "load", lambda name, **_: (_ for _ in ()).throw(ModelError(name)))
    with pytest.raises(ModelError, match="janus-nano"):
        render_missing(ConceptRun(store, CHURCH))
