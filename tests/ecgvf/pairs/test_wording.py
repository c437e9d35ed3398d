"""The class of a target prompt: what the concept's terms tell, and what only its writer knows."""

import pytest

from ecgvf.core.concepts import find
from ecgvf.pairs.wording import wording_of


@pytest.mark.parametrize(
    ("name", "target", "wording"),
    [
        ("church", "Two Churches at dusk", "explicit"),
        ("church", "a church beside a cathedral", "explicit"),
        ("church", "a cathedral at dusk", "synonym"),
        ("church", "a place of worship with a steeple", "implicit"),
        ("van-gogh", "a tree in the style of Van Gogh", "explicit"),
        ("van-gogh", "a tree, painted by Vincent van Gogh", "synonym"),
        ("van-gogh", "tree, Van Gogh style", "synonym"),
    ],
)
def test_terms_tell_a_name_a_synonym_and_a_description_apart(name: str, target: str, wording: str) -> None:
    assert wording_of(find(name), target) == wording


@pytest.mark.parametrize(
    ("target", "wording"),
    [
        ("a church building", "synonym"),
        ("a church-building by a lake", "synonym"),
        ("A Church  building", "synonym"),
        ("two church-buildings", "synonym"),
        ("a church beside a church-building", "explicit"),
    ],
)
def test_a_longer_term_is_known_in_any_spelling(target: str, wording: str) -> None:
    concept = find("church").model_copy(update={"terms": ("church", "church building", "chapel")})
    assert wording_of(concept, target) == wording


def test_another_spelling_of_the_name_is_no_synonym() -> None:
    clock = find("church").model_copy(update={"terms": ("Big Ben", "big-ben")})
    assert wording_of(clock, "Big Ben at dusk") == wording_of(clock, "Big-Ben at dusk") == "explicit"


def test_writer_knows_the_other_classes_unless_the_terms_contradict_it() -> None:
    church = find("church")
    assert wording_of(church, "a chruch", "misspelled") == "misspelled"
    assert wording_of(church, "a church", "misspelled") == "explicit"
    assert wording_of(church, "una iglesia", "other_language") == "other_language"
    assert wording_of(church, "is that a church?", "unseen_form") == "unseen_form"
    assert wording_of(church, "a cathedral", "explicit") == "synonym"
    assert wording_of(church, "a church", "implicit") == "explicit"
