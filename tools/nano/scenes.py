"""Named pools of scenes, so that what is held out stays held out."""

import random

from tools.nano.world import Scene, random_scene


def scene_pool(name: str, count: int, *, thing: str | None = None, style: str | None = None) -> list[Scene]:
    """`count` random scenes; pools of different names are drawn from different generators."""
    rng = random.Random(f"ecgvf.nano:{name}")
    return [random_scene(rng, thing=thing, style=style) for _ in range(count)]
