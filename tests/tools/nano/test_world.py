"""The composed images of the miniature world."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.world.grammar import load_world
from tools.nano.questions import GROUND_ANSWERS, SKY_ANSWERS, STYLE_ANSWERS
from tools.nano.scenes import scene_pool
from tools.nano.world import (
    COMPANIONS,
    GROUNDS,
    SKIES,
    STYLES,
    Scene,
    compose,
    compose_batch,
    drawings,
    random_scene,
    things,
)


def scene(**changes: object) -> Scene:
    plain = {
        "thing": "church", "designer": "noto", "sky": "blue", "ground": "grass", "companion": None,
        "style": "plain",
    }  # fmt: skip
    return Scene(**{**plain, **changes})  # type: ignore[arg-type]


def test_drawings_and_answers_cover_the_world() -> None:
    world = load_world()
    assert set(drawings()) == {*world.things, *world.companions}
    assert sorted(world.things) == things()
    assert set(SKY_ANSWERS) == set(world.skies) == set(SKIES)
    assert set(GROUND_ANSWERS) == set(world.grounds) == set(GROUNDS)
    assert set(world.companions) == set(COMPANIONS)
    assert set(STYLE_ANSWERS) == set(world.styles) == set(STYLES)
    for name, thing in world.things.items():
        assert set(drawings()[name]) <= set(thing.drawings)


@given(st.integers(0, 2**32))
def test_a_scene_determines_its_image(seed: int) -> None:
    sampled = random_scene(random.Random(seed))
    image = compose(sampled)
    assert image.shape == (64, 64, 3) and image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 1
    assert np.array_equal(image, compose(sampled))


@pytest.mark.parametrize(
    "change",
    [{"thing": "castle"}, {"designer": "twemoji"}, {"sky": "night"}, {"ground": "sand"}, {"companion": "balloon"},
     {"style": "van-gogh"}],
)  # fmt: skip
def test_every_attribute_changes_the_image(change: dict[str, object]) -> None:
    different = np.abs(compose(scene(**change)) - compose(scene())).max(-1) > 0.05
    assert different.mean() > 0.01


def test_styles_differ() -> None:
    for first, second in itertools.combinations(STYLES, 2):
        assert np.abs(compose(scene(style=first)) - compose(scene(style=second))).mean() > 0.03


def test_pools_are_stable_and_differ_by_name() -> None:
    assert scene_pool("a", 20) == scene_pool("a", 30)[:20]
    assert scene_pool("a", 20) != scene_pool("b", 20)
    assert compose_batch(scene_pool("a", 3)).dtype == np.uint8
