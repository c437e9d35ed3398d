"""Which scenes training never sees."""

import random

from ecgvf.world.grammar import held_out
from tools.nano.scenes import training_scenes


def test_training_scenes_exclude_the_held_out_combinations() -> None:
    endless = training_scenes(random.Random(0))
    for scene in (next(endless) for _ in range(2_000)):
        assert not held_out(*scene.combination)
