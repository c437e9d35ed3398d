"""The optional bounds, all off by default: several seeds, a CLIP floor, a limit on change."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgvf.core.errors import JudgeError, ModelError, SettingsError, StageMissing
from ecgvf.core.png import encode
from ecgvf.core.records import Acceptance, Box, Rendering
from ecgvf.core.run import ConceptRun
from ecgvf.core.seeds import derive
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, VERDICTS, Stage, StageSet
from ecgvf.filter import Bounds, FilterResult, clip_score, filter_images
from ecgvf.filter.bounds import change
from ecgvf.filter.clip_score import CLIP_SCORES, ClipScore
from ecgvf.janus import load, num_threads
from ecgvf.judges.clip import Encoder
from ecgvf.render import RenderOptions, missing_options, render, stage
from tests import random_clip
from tests.ecgvf.small_run import ScriptedJudge, church_pairs, write_images, write_pairs
from tools import tiny_janus

GREY = np.full((64, 64, 3), 100, np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_janus.build(tmp_path_factory.mktemp("janus"), layers=1))


def half_changed() -> NDArray[np.uint8]:
    """The left half is white, the right half slightly brighter than ``GREY``."""
    image = GREY.copy()
    image[:, :32] = 255
    image[:, 32:] += 10
    return image


def reasons(run: ConceptRun, answers: list[bool], bounds: Bounds) -> list[str | None]:
    filter_images(run, judge=ScriptedJudge(answers), bounds=bounds, device="cpu")
    return [row.reason for row in run.current(ACCEPTANCE).records(Acceptance)]


def forbid_writing(monkeypatch: pytest.MonkeyPatch, stage: Stage) -> None:
    write_shard = StageSet.write_shard

    def checked(self: StageSet, index: int, table: Any) -> None:
        assert self.stage != stage, f"{stage.name} were made again"
        write_shard(self, index, table)

    monkeypatch.setattr(StageSet, "write_shard", checked)


# A limit on change


def test_half_of_the_image_may_change() -> None:
    assert change(GREY, GREY) == 0
    assert change(GREY, half_changed()) == pytest.approx(10 / 255)


def test_all_change_outside_a_detectors_boxes_counts() -> None:
    left = Box("church", 1.0, 0, 0, 32, 64)
    assert change(GREY, half_changed(), [left]) == pytest.approx(10 / 255)
    assert change(GREY, half_changed(), [Box("church", 1.0, 32, 0, 32, 64)]) == pytest.approx(155 / 255)
    assert change(GREY, half_changed(), [Box("church", 1.0, 0, 0, 64, 64)]) == 0


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_change_is_symmetric_and_between_0_and_1(seed: int, side: int) -> None:
    a, b = np.random.default_rng(seed).integers(0, 256, (2, side, side + 3, 3), dtype=np.uint8)
    assert change(a, b) == change(b, a)
    assert 0 <= change(a, b) <= 1


def test_a_pair_that_changes_elsewhere_is_rejected(run: ConceptRun) -> None:
    write_images(run.store, run.concept, [(GREY, half_changed()), (GREY, 255 - GREY)])
    assert reasons(run, [True, False] * 2, Bounds(most_change=0.1)) == [None, "changed_elsewhere"]
    # The bound is a setting of the acceptance set: the judge is not run again.
    assert reasons(run, [], Bounds(most_change=0.9)) == [None, None]
    assert reasons(run, [], Bounds()) == [None, None]
    assert len(run.sets(VERDICTS)) == 1


# A CLIP floor


def test_an_image_far_from_its_prompt_is_rejected(
    run: ConceptRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clip = str(random_clip.build(tmp_path / "clip"))
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    write_images(run.store, run.concept, [(noise[0], noise[1]), (noise[2], noise[3])])
    assert reasons(run, [True, False] * 2, Bounds(clip_floor=-1, clip=clip)) == [None, None]
    scores = run.current(CLIP_SCORES).records(ClipScore)
    encoder = Encoder(clip)
    expected = encoder.encode_images(noise[:1]) @ encoder.encode_texts(["a church by lake 0"]).T
    assert (scores[0].role, scores[0].cosine) == ("target", pytest.approx(float(expected.item()), abs=1e-5))
    lowest = [min(score.cosine for score in scores[first : first + 2]) for first in (0, 2)]
    floor = sum(lowest) / 2
    forbid_writing(monkeypatch, CLIP_SCORES)  # another floor needs no new scores
    assert reasons(run, [], Bounds(clip_floor=floor, clip=clip)) == [
        None if cosine >= floor else "off_prompt" for cosine in lowest
    ]
    assert min(lowest) < floor < max(lowest)


def test_a_clip_model_that_is_not_there_is_named_with_its_option(run: ConceptRun) -> None:
    write_images(run.store, run.concept, [(GREY, GREY)])
    with pytest.raises(JudgeError, match=r"cannot load the CLIP model 'nosuch'.* name a folder with --clip"):
        reasons(run, [], Bounds(clip_floor=-1, clip="nosuch"))


def test_clip_scores_of_a_round_leave_the_current_ones(run: ConceptRun, tmp_path: Path) -> None:
    write_images(run.store, run.concept, [(GREY, half_changed())])
    bounds = Bounds(clip_floor=-1, clip=str(random_clip.build(tmp_path / "clip")))
    result = filter_images(run, judge=ScriptedJudge([True, False]), bounds=bounds, device="cpu", current=False)
    assert run.open(CLIP_SCORES, result.acceptance.settings["bounds"]["likeness"]).finished
    with pytest.raises(StageMissing):
        run.current(CLIP_SCORES)


def test_clip_scores_of_a_batch_are_those_of_its_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    encoder = Encoder(str(random_clip.build(tmp_path / "clip")))
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    prompts = ["a church", "a hotel by lake 0", "a church by lake 0 on a hill", "a hotel"]
    alone = [float(encoder.encode_images(noise[i : i + 1]) @ encoder.encode_texts([prompts[i]]).T) for i in range(4)]
    sizes: list[int] = []
    encode_images = encoder.encode_images
    monkeypatch.setattr(encoder, "encode_images", lambda images: sizes.append(len(images)) or encode_images(images))
    monkeypatch.setattr(clip_score, "BATCH", 3)
    pngs = [*map(encode, noise[:2]), b"no image", *map(encode, noise[2:])]
    cosines = clip_score._cosines(encoder, pngs, [*prompts[:2], "torn", *prompts[2:]])
    assert cosines == pytest.approx([*alone[:2], -1, *alone[2:]], abs=1e-5) and sizes == [3, 1]
    assert clip_score._cosines(encoder, [b"no image"], ["torn"]) == [-1]


def test_resumed_clip_scores_are_measured_on_as_many_threads_as_the_first(
    run: ConceptRun, model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ecgvf.render.stage.SHARD_RECORDS", 1)
    write_pairs(run.store, church_pairs(train=2, test=0))
    images = render(run, RenderOptions(model=model, device="cpu")).images
    encoder, threads = Encoder(str(random_clip.build(tmp_path / "clip"))), []
    encode_images = encoder.encode_images

    def interrupted(pixels: NDArray[np.uint8]) -> torch.Tensor:
        threads.append(torch.get_num_threads())
        if len(threads) == 2:
            raise KeyboardInterrupt
        return encode_images(pixels)

    monkeypatch.setattr(encoder, "encode_images", interrupted)
    with num_threads(3), pytest.raises(KeyboardInterrupt):
        clip_score.measure_clip_scores(images, encoder)
    assert clip_score.measure_clip_scores(images, encoder).circumstances == {"threads": 3}
    assert threads == [3, 3, 3] and torch.get_num_threads() != 3


# Several seeds


def test_a_pair_must_pass_in_a_share_of_the_seeds(run: ConceptRun, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(run.store, church_pairs(train=2, test=1))
    own = render(run, RenderOptions(model=model, seed=5)).images
    passed, leaked = [True, False], [True, True]
    # Of three seeds, the first pair passes in all, the second in its own and one more; the test prompt in two.
    answers = [*passed, *passed, True, *passed, *leaked, False, *passed, *passed, True]

    def filtered(share: float, answers: list[bool]) -> FilterResult:
        return filter_images(run, judge=ScriptedJudge(answers), bounds=Bounds(seeds=3, share=share), device="cpu")

    loaded: list[str] = []
    monkeypatch.setattr(stage, "load", lambda name, **options: loaded.append(name) or load(name, **options))
    acceptance = filtered(1.0, answers).acceptance
    assert loaded == [model]  # once for both further seeds
    assert [row.reason for row in acceptance.records(Acceptance)] == [None, "unsteady", "unsteady"]
    assert sorted(images.settings["seed"] for images in run.sets(IMAGES)) == [5, 6, 7]
    assert not any("further_seed" in images.settings for images in run.sets(IMAGES))
    # Later stages still read the images of the run's own seed.
    assert run.current(IMAGES).fingerprint == own.fingerprint == acceptance.settings["pictures"]
    assert run.current(VERDICTS).fingerprint == acceptance.settings["verdicts"]
    with monkeypatch.context() as patch:
        forbid_writing(patch, IMAGES)
        assert filtered(0.6, []).accepted["train"] == 2 and loaded == [model]
    # New pairs are rendered from the run's own seed, not from one of the further seeds.
    write_pairs(run.store, church_pairs(train=3, test=1))
    assert missing_options(run).seed == 5


def test_further_seeds_of_another_model_are_refused(run: ConceptRun, model: str, tmp_path: Path) -> None:
    own = Path(shutil.copytree(model, tmp_path / "janus"))
    write_pairs(run.store, church_pairs(train=1, test=0))
    render(run, RenderOptions(model=str(own)))
    (own / "another.json").write_text("{}")
    with pytest.raises(ModelError, match=r"is not the model that rendered the images of the first seed \(renderer: "):
        filter_images(run, judge=ScriptedJudge([True, False]), bounds=Bounds(seeds=2), device="cpu")
    assert len(run.sets(IMAGES)) == 1


def test_a_record_with_a_seed_of_its_own_has_other_images_from_further_seeds(run: ConceptRun, model: str) -> None:
    own, other = church_pairs(train=2, test=0)
    write_pairs(run.store, [replace(own, seed=42), other])
    first = render(run, RenderOptions(model=model, seed=5)).images
    judge = ScriptedJudge([True, False] * 6)
    settings = filter_images(run, judge=judge, bounds=Bounds(seeds=3), device="cpu").acceptance.settings
    verdicts = [run.open(VERDICTS, set_id) for set_id in settings["bounds"]["verdicts"]]
    by_seed = [judged.source(IMAGES) for judged in verdicts]
    assert by_seed[0].fingerprint == first.fingerprint
    seeds = [{(row.record_id, row.seed) for row in images.records(Rendering)} for images in by_seed]
    assert seeds == [
        {
            (own.record_id, derive(further, "42", "render") if further else 42),
            (other.record_id, derive(5 + further, other.record_id, "render")),
        }
        for further in range(3)
    ]
    # The run's seed alone does not decide these images, so that seed 6 is another set.
    assert render(run, RenderOptions(model=model, seed=6)).images.fingerprint != by_seed[1].fingerprint
    assert [images.settings.get("further_seed") for images in by_seed] == [None, 1, 2]
    # The seeds after a further one are those after it, not others.
    again = filter_images(run, judge=judge, bounds=Bounds(seeds=2), set_id=by_seed[1].fingerprint, device="cpu")
    assert again.acceptance.settings["bounds"]["verdicts"] == settings["bounds"]["verdicts"][1:]


def test_interrupted_further_seeds_change_no_run(run: ConceptRun, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(run.store, church_pairs(train=2, test=0))
    own = render(run, RenderOptions(model=model)).images.fingerprint
    judge = ScriptedJudge([True, False] * 6)
    write_shard = StageSet.write_shard

    def interrupted(self: StageSet, index: int, table: Any) -> None:
        if self.stage == IMAGES and self.settings["seed"] == 2:
            raise KeyboardInterrupt
        write_shard(self, index, table)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StageSet, "write_shard", interrupted)
        filter_images(run, judge=judge, bounds=Bounds(seeds=3), device="cpu")
    assert run.current(IMAGES).fingerprint == own
    acceptance = filter_images(run, judge=judge, bounds=Bounds(seeds=3), device="cpu").acceptance
    assert acceptance.settings["pictures"] == own == run.current(IMAGES).fingerprint
    assert sorted(images.settings["seed"] for images in run.sets(IMAGES)) == [0, 1, 2]


@pytest.mark.parametrize(
    "values",
    [
        {"seeds": 0},
        {"share": 0.5},
        {"seeds": 2, "share": 0.0},
        {"seeds": 2, "share": 1.1},
        {"clip_floor": 2.0},
        {"clip": "openai/clip-vit-base-patch32"},
        {"most_change": -0.1},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Bounds(**values)
