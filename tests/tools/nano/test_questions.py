"""Answers are about what a scene shows."""

import random

from tools.nano.questions import questions, yes_no
from tools.nano.scenes import scene_pool


def test_answers_match_the_scene() -> None:
    rng = random.Random(0)
    for scene in scene_pool("test", 200):
        shown = {scene.thing, scene.companion}
        yes = yes_no(scene, rng, True)
        assert yes.answer == "Yes." and yes.about in shown and str(yes.about) in yes.text
        no = yes_no(scene, rng, False)
        assert no.answer == "No." and no.about not in shown and scene.thing not in no.text.split()
        assert len(questions(scene, rng, 5)) == 5
