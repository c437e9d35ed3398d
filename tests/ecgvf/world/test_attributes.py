"""A prompt's attributes are those that its description has, and no other words ask for one."""

import random

import pytest
from hypothesis import given

from ecgvf.world.attributes import find_attributes
from ecgvf.world.grammar import WORDINGS, Description, load_world, sentence
from tests.ecgvf.world.strategies import descriptions, seeds, which_forms, wordings

WORLD = load_world()


def described(description: Description) -> dict[str, str]:
    names = {name: getattr(description, name) for name in ("sky", "ground", "companion", "style")}
    return {name: value for name, value in names.items() if value not in (None, "plain")}


@given(descriptions, which_forms, wordings, seeds)
def test_the_attributes_of_a_sentence_are_those_of_its_description(description, which, wording, seed):
    text = sentence(description, random.Random(seed), forms=which, wording=wording).text
    for prompt in (text, text.upper(), text.replace(" ", " \n ")):
        assert find_attributes(prompt) == described(description), prompt


@pytest.mark.parametrize("wording", WORDINGS)
def test_the_words_for_a_thing_ask_for_no_attribute(wording):
    for thing in WORLD.things.values():
        for phrase in thing.noun_phrases(wording):
            assert find_attributes(phrase) == {}


@pytest.mark.parametrize(
    ("prompt", "attributes"),
    [
        ("A church.", {}),
        ("", {}),
        ("a church with a snowman", {"companion": "snowman"}),
        ("a church with a man made of snow", {"companion": "snowman"}),
        ("a church with the umbrella, in the snow", {"companion": "umbrella", "ground": "snow"}),
        ("a sea turtle in the sea", {"ground": "water"}),
        ("a water bird that quacks on a road", {"ground": "road"}),
        ("una iglesia con un globo rojo, como una acuarela", {"companion": "balloon", "style": "watercolour"}),
        ("a sandcastle in a snowfield", {}),
        ("a church at night, under a starry sky", {"sky": "night"}),
        ("a church at night and at dawn, on a road", {"ground": "road"}),
        ("a church under the stars beneath a starry sky", {"sky": "night"}),
        ("a photo of a church", {}),
    ],
)
def test_what_a_prompt_asks_for(prompt, attributes):
    assert find_attributes(prompt) == attributes
