"""Questions about a picture and their answers, for the half of nano that looks."""

import random
from dataclasses import dataclass

from ecgvf.world.grammar import with_article
from tools.nano.world import COMPANIONS, GROUNDS, SKIES, STYLES, Scene, things

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
_IS_THERE = ("Is there {} in this picture?", "Does this picture show {}?", "Can you see {}?")


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a picture, its right answer, and the thing or companion that a yes/no question names."""

    text: str
    answer: str
    about: str | None = None


def yes_no(scene: Scene, rng: random.Random, expected: bool) -> Question:
    """A question about a thing whose right answer is `expected`."""
    shown = [scene.thing] + ([scene.companion] if scene.companion else [])
    if expected:
        name = rng.choice(shown) if rng.random() < 0.3 else scene.thing
    else:
        name = rng.choice([other for other in (*things(), *COMPANIONS) if other not in shown])
    return Question(rng.choice(_IS_THERE).format(with_article(name)), "Yes." if expected else "No.", name)


def questions(scene: Scene, rng: random.Random, count: int) -> list[Question]:
    """`count` questions with answers: half yes/no about things, the rest open or yes/no about style."""
    asked = []
    for _ in range(count):
        choice = rng.random()
        if choice < 0.5:
            asked.append(yes_no(scene, rng, rng.random() < 0.5))
        elif choice < 0.68:
            asked.append(Question("What is in this picture?", f"{with_article(scene.thing).capitalize()}."))
        elif choice < 0.78:
            asked.append(Question("What is the sky like?", SKY_ANSWERS[scene.sky]))
        elif choice < 0.86:
            asked.append(Question("What is on the ground?", GROUND_ANSWERS[scene.ground]))
        elif choice < 0.94:
            asked.append(Question("What is the style of this picture?", STYLE_ANSWERS[scene.style]))
        else:
            beside = f"{with_article(scene.companion).capitalize()}." if scene.companion else "Nothing."
            asked.append(Question("What is beside it?", beside))
    return asked


assert set(SKY_ANSWERS) == set(SKIES) and set(GROUND_ANSWERS) == set(GROUNDS) and set(STYLE_ANSWERS) == set(STYLES)
