"""The miniature world's pictures."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.world.grammar import load_world
from tools.nano.scenes import scene_pool
from tools.nano.world import (
    COMPANIONS,
    GROUNDS,
    SKIES,
    STYLES,
    Scene,
    drawings,
    picture,
    pictures,
    random_scene,
    things,
)


def scene(**changes: object) -> Scene:
    plain = {
        "thing": "church", "designer": "noto", "sky": "blue", "ground": "grass", "companion": None,
        "style": "plain",
    }  # fmt: skip
    return Scene(**{**plain, **changes})  # type: ignore[arg-type]


def test_words_and_drawings_speak_of_the_same_world() -> None:
    world = load_world()
    assert sorted(world.things) == things()
    assert set(world.skies) == set(SKIES)
    assert set(world.grounds) == set(GROUNDS)
    assert set(world.companions) == set(COMPANIONS)
    assert set(world.styles) == set(STYLES)
    for name, thing in world.things.items():
        assert set(drawings()[name]) <= set(thing.drawn)


@given(st.integers(0, 2**32))
def test_a_scene_is_one_picture(seed: int) -> None:
    drawn = random_scene(random.Random(seed))
    image = picture(drawn)
    assert image.shape == (64, 64, 3) and image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 1
    assert np.array_equal(image, picture(drawn))


@pytest.mark.parametrize(
    "change",
    [{"thing": "castle"}, {"designer": "twemoji"}, {"sky": "night"}, {"ground": "sand"}, {"companion": "balloon"},
     {"style": "van-gogh"}],
)  # fmt: skip
def test_every_attribute_shows(change: dict[str, object]) -> None:
    different = np.abs(picture(scene(**change)) - picture(scene())).max(-1) > 0.05
    assert different.mean() > 0.01


def test_every_style_can_be_told_from_every_other() -> None:
    looks = [picture(scene(style=style)) for style in STYLES]
    for one in range(len(looks)):
        for other in range(one):
            assert np.abs(looks[one] - looks[other]).mean() > 0.03


def test_pools_are_stable_and_differ_by_name() -> None:
    assert scene_pool("a", 20) == scene_pool("a", 30)[:20]
    assert scene_pool("a", 20) != scene_pool("b", 20)
    assert pictures(scene_pool("a", 3)).dtype == np.uint8
