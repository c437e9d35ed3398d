"""The second judges' drawings, their images of nothing, and their training."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np

from tools.nano import second_judges
from tools.nano.corruption import held_out_corruptions, trained_corruptions
from tools.nano.frozen_codec import Codec
from tools.nano.judge_comparison import Confident
from tools.nano.second_world import (
    compose_second,
    compose_second_batch,
    second_drawings,
    second_scene_pool,
)
from tools.nano.world import COMPANIONS, STYLES, drawings, things

DATA = Path(second_judges.__file__).parent


def test_the_second_designers_draw_every_thing_and_no_first_one_is_among_them() -> None:
    assert set(second_drawings()) == {*things(), *COMPANIONS}
    sets = {name.partition(":")[0] for by_name in second_drawings().values() for name in by_name}
    assert not sets & {designer for by_designer in drawings().values() for designer in by_designer}
    credits = json.loads((DATA / "second_drawings.json").read_text(encoding="utf-8"))["credits"]
    assert set(credits) == sets
    assert not any("SA" in credit or "NC" in credit for credit in credits.values())


def test_every_second_drawing_is_visible() -> None:
    for scene in second_scene_pool("test", 400, varied=False):
        empty = compose_second(dataclasses.replace(scene, thing=None, drawing=None))
        changed = np.abs(compose_second(scene) - empty).max(-1) > 0.05
        assert changed.mean() > 0.03, scene


def test_a_second_scene_determines_its_image_and_its_seed_varies_it() -> None:
    scene = next(scene for scene in second_scene_pool("test", 20) if scene.style == "plain")
    image = compose_second(scene)
    assert image.shape == (64, 64, 3) and image.dtype == np.float32 and 0 <= image.min() <= image.max() <= 1
    assert np.array_equal(image, compose_second(scene))
    (unvaried,) = [other for other in second_scene_pool("test", 20, varied=False) if other.thing == scene.thing][:1]
    assert unvaried.seed is None and not np.array_equal(image, compose_second(unvaried))
    assert second_scene_pool("a", 20) == second_scene_pool("a", 30)[:20]


def test_corruptions_change_every_image_and_no_held_out_kind_is_trained(small_codec: Codec) -> None:
    images = compose_second_batch(second_scene_pool("test", 6))
    trained, held_out = trained_corruptions(small_codec), held_out_corruptions(small_codec)
    assert not set(trained) & set(held_out)
    for corrupt in (*trained.values(), *held_out.values()):
        corrupted = corrupt(images, np.random.default_rng(0))
        assert corrupted.shape == images.shape and corrupted.dtype == np.uint8
        assert (corrupted != images).any((1, 2, 3)).all()
        assert np.array_equal(corrupted, corrupt(images, np.random.default_rng(0)))


def test_shuffled_patches_are_the_images_own(small_codec: Codec) -> None:
    images = compose_second_batch(second_scene_pool("test", 2))
    for side in (4, 8):
        shuffled = trained_corruptions(small_codec)[f"patches of {side} px shuffled"](images, np.random.default_rng(0))
        assert np.array_equal(np.sort(shuffled.reshape(2, -1), 1), np.sort(images.reshape(2, -1), 1))


def test_a_second_judge_learns_and_resumes(small_codec: Codec, tmp_path: Path) -> None:
    pool = second_judges.build_pool(tmp_path / "pool.npz", small_codec, composed=96, coded=4, corrupted=2)
    assert len(pool.images) == 100 and len(pool.nothing) == 2 * len(trained_corruptions(small_codec))
    assert (pool.images[:96] == compose_second_batch(second_scene_pool("train", 96))).all()
    seconds = itertools.count().__next__
    for steps in (2, 4):
        result = second_judges.train_second_judge(
            "object-c", pool, tmp_path, tmp_path / "out", seconds=steps, tested=60, clock=seconds
        )
        assert result["steps"] == steps
    config = json.loads((tmp_path / "out" / "object-c" / "config.json").read_text())
    assert config["labels"] == [*things(), "nothing"]
    assert (tmp_path / "out" / "object-c" / "model.safetensors").stat().st_size < 1_500_000
    rows = [json.loads(line) for line in (tmp_path / "object-c" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    second_judges.train_second_judge("style-b", pool, tmp_path, tmp_path / "out", seconds=1, tested=60, clock=seconds)
    assert json.loads((tmp_path / "out" / "style-b" / "config.json").read_text())["labels"] == list(STYLES)


class _Fixed:
    """A judge of two labels with given probabilities of the first, by an image's first value."""

    labels = ("church", "castle")

    def __init__(self, exponent: float) -> None:
        self.exponent = exponent

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        first = 0.5 + 0.5 * (images[:, 0, 0, 0] / 255.0) ** self.exponent
        return np.stack((first, 1 - first), 1)


def test_two_judges_are_confident_about_95_percent_of_the_intact_images() -> None:
    intact = np.random.default_rng(0).integers(100, 256, (200, 1, 1, 3), np.uint8)
    confident = Confident(_Fixed(1.0), _Fixed(2.0), intact)  # type: ignore[arg-type]
    assert 0.95 <= confident(intact).mean() < 0.97
    assert not confident(np.zeros((3, 1, 1, 3), np.uint8)).any()
