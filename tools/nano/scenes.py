"""Samples of scenes: named pools, the training and the held-out combinations, and their captions."""

import itertools
import random
from collections.abc import Collection, Iterator

from ecgvf.world.grammar import Forms, describe, held_out, sentence
from tools.nano.world import STYLES, Scene, random_scene, things


def scene_pool(
    name: str,
    count: int,
    *,
    thing: str | None = None,
    style: str | None = None,
    excluded: Collection[Scene] = frozenset(),
) -> list[Scene]:
    """`count` random scenes, the same for the same `name`; a longer pool starts with the shorter one.

    There are so few scenes that large pools share many. A pool to test on takes those of the training as `excluded`, a
    set.
    """
    rng = random.Random(f"ecgvf.nano:{name}")
    endless = (random_scene(rng, thing=thing, style=style) for _ in itertools.count())
    return list(itertools.islice((scene for scene in endless if scene not in excluded), count))


def training_scenes(rng: random.Random, without: Collection[str] = ()) -> Iterator[Scene]:
    """Endless scenes without the held-out combinations and without the things in `without`; church and the plain style
    are more frequent."""
    known = [thing for thing in things() if thing not in without]
    weights = [2 if thing == "church" else 1 for thing in known]
    while True:
        thing = rng.choices(known, weights)[0]
        scene = random_scene(rng, thing=thing, style=rng.choices(STYLES, (28, 18, 18, 18, 18))[0])
        if not held_out(*scene.combination):
            yield scene


def held_out_scene(rng: random.Random, thing: str, style: str, excluded: Collection[Scene] = frozenset()) -> Scene:
    """A scene whose combination is held out from the language model's training, and which is not in `excluded`.

    The vision tower's pool has held-out combinations: if the model is to look at the image, exclude that pool.
    """
    while True:
        scene = random_scene(rng, thing=thing, style=style)
        if held_out(*scene.combination) and scene not in excluded:
            return scene


def caption(scene: Scene, rng: random.Random, *, forms: Forms = "train", everything: bool = False) -> str:
    """A sentence about the scene; with `everything`, sky and ground are always mentioned."""
    return sentence(describe(*scene.combination, rng, everything=everything), rng, forms=forms).text
