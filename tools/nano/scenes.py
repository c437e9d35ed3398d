"""Samples of scenes: named pools, the training and the held-out combinations, and their captions."""

import random
from collections.abc import Iterator

from ecgvf.world.grammar import Forms, describe, held_out, sentence
from tools.nano.world import STYLES, Scene, random_scene, things


def scene_pool(name: str, count: int, *, thing: str | None = None, style: str | None = None) -> list[Scene]:
    """`count` random scenes, the same for the same `name`; a longer pool starts with the shorter one."""
    rng = random.Random(f"ecgvf.nano:{name}")
    return [random_scene(rng, thing=thing, style=style) for _ in range(count)]


def training_scenes(rng: random.Random) -> Iterator[Scene]:
    """Endless scenes without the held-out combinations; church and the plain style are more frequent."""
    weights = [2 if thing == "church" else 1 for thing in things()]
    while True:
        thing = rng.choices(things(), weights)[0]
        scene = random_scene(rng, thing=thing, style=rng.choices(STYLES, (28, 18, 18, 18, 18))[0])
        if not held_out(*scene.combination):
            yield scene


def held_out_scene(rng: random.Random, thing: str, style: str) -> Scene:
    """A scene whose combination is held out from the language model's training."""
    while True:
        scene = random_scene(rng, thing=thing, style=style)
        if held_out(*scene.combination):
            return scene


def caption(scene: Scene, rng: random.Random, *, forms: Forms = "train", everything: bool = False) -> str:
    """A sentence about the scene; with `everything`, sky and ground are always mentioned."""
    return sentence(describe(*scene.combination, rng, everything=everything), rng, forms=forms).text
