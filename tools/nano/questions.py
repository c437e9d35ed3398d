"""Questions about a composed image, with their answers."""

import random
from collections.abc import Collection
from dataclasses import dataclass

from ecgvf.world.grammar import with_article
from ecgvf.world.questions import YES_NO_FORMS, Kind
from tools.nano.world import COMPANIONS, Scene, things

SKY_ANSWERS = {
    "blue": "Clear and blue.",
    "sunset": "A sunset.",
    "night": "Night, with stars.",
    "storm": "Stormy and grey.",
    "dawn": "A pink dawn.",
    "aurora": "Green aurora.",
}
GROUND_ANSWERS = {
    "grass": "Grass.",
    "sand": "Sand.",
    "snow": "Snow.",
    "water": "Water.",
    "road": "A road.",
    "flowers": "Flowers.",
}
STYLE_ANSWERS = {
    "plain": "Plain.",
    "van-gogh": "Van Gogh.",
    "pixel-art": "Pixel art.",
    "pencil-sketch": "A pencil sketch.",
    "watercolour": "A watercolour.",
}
OPEN_QUESTIONS: dict[Kind, str] = {
    "object": "What is in this picture?",
    "sky": "What is the sky like?",
    "ground": "What is on the ground?",
    "style": "What is the style of this picture?",
    "companion": "What is beside it?",
}
_OPEN_UP_TO: dict[Kind, float] = {"object": 0.68, "sky": 0.78, "ground": 0.86, "style": 0.94, "companion": 1.0}


@dataclass(frozen=True, slots=True)
class Question:
    """A question about an image, its right answer, and the thing or companion that a yes/no question names."""

    text: str
    answer: str
    kind: Kind
    about: str | None = None


def yes_no(scene: Scene, rng: random.Random, expected: bool, without: Collection[str] = ()) -> Question:
    """A yes/no question about a thing or companion that is not in `without`; `expected`: the answer is yes."""
    shown = [scene.thing] + ([scene.companion] if scene.companion else [])
    if expected:
        name = rng.choice(shown) if rng.random() < 0.3 else scene.thing
    else:
        name = rng.choice([absent for absent in (*things(), *COMPANIONS) if absent not in (*shown, *without)])
    return Question(rng.choice(YES_NO_FORMS).format(with_article(name)), "Yes." if expected else "No.", "yes_no", name)


def open_question(scene: Scene, kind: Kind) -> Question:
    """The question of a `kind` other than yes/no."""
    answers: dict[Kind, str] = {
        "object": f"{with_article(scene.thing).capitalize()}.",
        "sky": SKY_ANSWERS[scene.sky],
        "ground": GROUND_ANSWERS[scene.ground],
        "style": STYLE_ANSWERS[scene.style],
        "companion": f"{with_article(scene.companion).capitalize()}." if scene.companion else "Nothing.",
    }
    return Question(OPEN_QUESTIONS[kind], answers[kind], kind)


def questions(scene: Scene, rng: random.Random, count: int, without: Collection[str] = ()) -> list[Question]:
    """`count` random questions, none about a thing in `without`: on average half yes/no, half open."""
    sampled = []
    for _ in range(count):
        draw = rng.random()
        if draw < 0.5:
            sampled.append(yes_no(scene, rng, rng.random() < 0.5, without))
        else:
            kind = next(kind for kind, bound in _OPEN_UP_TO.items() if draw < bound)
            sampled.append(open_question(scene, kind))
    return sampled
