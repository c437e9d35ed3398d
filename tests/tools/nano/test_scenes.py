"""Which scenes training never sees."""

import random

from ecgvf.world.grammar import held_out
from tools.nano.scenes import held_out_scene, scene_pool, training_scenes


def test_training_scenes_exclude_the_held_out_combinations() -> None:
    endless = training_scenes(random.Random(0))
    for scene in (next(endless) for _ in range(2_000)):
        assert not held_out(*scene.combination)


def test_a_pool_to_test_on_has_none_of_the_training_scenes() -> None:
    trained = set(scene_pool("train", 20_000))
    usual, other = scene_pool("test", 500), scene_pool("test", 500, excluded=trained)
    assert trained & set(usual)  # or this would test nothing
    assert len(other) == 500 and not trained & set(other)
    kept = [scene for scene in usual if scene not in trained]
    assert other[: len(kept)] == kept


def test_a_held_out_scene_can_be_one_that_the_vision_tower_did_not_see() -> None:
    seen = {held_out_scene(random.Random(seed), "church", "plain") for seed in range(20)}
    others = {held_out_scene(random.Random(seed), "church", "plain", seen) for seed in range(20)}
    assert all(held_out(*scene.combination) for scene in others) and not others & seen
