"""What makes a pair: each rule, on both sides of its bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core.concepts import find
from ecgvf.pairs.checks import MOST_CHANGED, Seen, fault, names, near, sentences, share_changed, target_term
from ecgvf.pairs.parsing import Draft

CHURCH = find("church")

IMPLICIT = "a tall house of prayer with pointed arches, pews and one bell"
PARTY = "a crowded lobby where twenty people dance to loud music"


def draft(target: str, term: str, surrogate: str | None = None, replacement: str | None = None) -> Draft:
    return Draft(target, term, surrogate, replacement, "")


@pytest.mark.parametrize(
    "good",
    [
        draft("A church at dusk.", "church", "A hotel at dusk.", "hotel"),
        draft("Church", "church", "factory", "factory"),
        draft("two old churches by the sea", "churches", "two old inns by the sea", "inns"),
        draft("An abbey on a hill", "abbey", "A tent on a hill", "tent"),
        draft("a place of worship at dusk", "place of worship", "a stadium at dusk", "stadium"),
        draft("a church on a hill at dusk", "church", "an empty field on a hill at dusk", "empty field"),
        draft("a meadow with a church at dawn", "with a church", "a meadow at dawn", ""),
        draft("Una iglesia junto al mar", "iglesia", "Un hotel junto al mar", "hotel"),
        draft("A church at dusk.", "church", "A row of parked bicycles at dusk.", "row of parked bicycles"),
        draft("a church", "church", "a row of parked bicycles", "a row of parked bicycles"),
        draft("a church", "church"),
        draft(IMPLICIT, IMPLICIT, "a hotel", "hotel"),
        draft(f"{IMPLICIT} at dusk", f"{IMPLICIT} at dusk"),
    ],
    ids=lambda one: one.target,
)
def test_pairs_that_hold(good):
    assert fault(CHURCH, good) is None


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (draft("a hotel", "church", "a bank", "bank"), "target does not contain"),
        (draft("a churchyard", "church", "a bank", "bank"), "target does not contain"),
        (draft("a church", "church", "a Chapel", "Chapel"), "names the concept ('chapel')"),
        (draft("a church", "church", "a hotel and churches", "hotel"), "names the concept"),
        (draft("a church", "church", "a \uff43\uff48\uff55\uff52\uff43\uff48", ""), "names the concept"),
        (
            draft("a church", "church", "a \U0001d41c\U0001d421\U0001d42e\U0001d42b\U0001d41c\U0001d421", ""),
            "names the concept",
        ),
        (draft("a chruch", "chruch", "a \uff43\uff48\uff52\uff55\uff43\uff48", ""), "still contains"),
        (draft("a house of God", "house of God", "the house of God", "the"), "still contains"),
        (draft("a church", "church", "a hotel", "bank"), "surrogate does not contain"),
        (draft("a church on a hill at dusk", "church", "a hotel in the city by night", "hotel"), "words changed"),
        (draft("a church", "church", PARTY, PARTY), "100% of the other words changed"),
        (draft("a church at dusk", "church", f"{PARTY} at dusk", PARTY), "words changed"),
        (draft(f"{IMPLICIT} at dusk", f"{IMPLICIT} at dusk", "a hotel", "hotel"), "13 words are said to mean"),
        (draft("a chruch", "chruch", PARTY, PARTY), "words changed"),
    ],
    ids=lambda one: one.surrogate if isinstance(one, Draft) else "",
)
def test_pairs_that_do_not_hold(bad, said):
    assert said in (fault(CHURCH, bad) or "")


def test_the_bound_on_what_changes():
    """One of four other words: at the bound. One of three: above."""
    at = draft("church on snowy ground tonight", "church", "hotel on sandy ground tonight", "hotel")
    above = draft("church on snowy ground", "church", "hotel on sandy ground", "hotel")
    assert share_changed(at) == pytest.approx(MOST_CHANGED["object"])
    assert fault(CHURCH, at) is None
    assert share_changed(above) > MOST_CHANGED["object"]
    assert fault(CHURCH, above)


def test_an_explicit_target_is_known_by_the_concepts_term_and_an_implicit_one_by_its_own_words():
    assert target_term(CHURCH, draft("Two Churches", "Churches")) == "church"
    assert target_term(CHURCH, draft("a chruch", "chruch")) == "chruch"


def test_names_takes_whole_words_only():
    assert names("The Old-Church square", "old church")
    assert names("churches", "church")
    assert not names("churchill", "church")
    assert not names("anything", " ")
    assert names("a (church", "(church") is names("a (church", "church")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a church at dusk", "A church, at dusk.", True),
        ("a church at dusk", "At dusk the church", True),
        ("a church at dusk", "a church at dawn", False),
        ("one two three four five", "one two three four", True),
        ("one two three four", "one two three", False),
    ],
)
def test_near_duplicates(one, other, same):
    assert near(one, other) is near(other, one) is same


@given(st.lists(st.text("abc ", min_size=1, max_size=12), max_size=12), st.text("abc ", min_size=1, max_size=12))
def test_seen_finds_what_comparing_with_each_would_find(prompts, prompt):
    seen = Seen()
    for known in prompts:
        seen.add(known)
    assert seen.like(prompt) == next((known for known in prompts if near(known, prompt)), None)


@pytest.mark.parametrize(
    ("prompt", "number"),
    [("a church", 1), ("A church.", 1), ("One. Two! Three?", 3), ("One. Two. Three. Four.", 4), ("v1.5 of it", 1)],
)
def test_sentences_are_counted(prompt, number):
    assert sentences(prompt) == number


def test_a_prompt_of_four_sentences_is_none():
    long = "A church. It is old. It is cold. It is tall."
    assert "4 sentences" in (fault(CHURCH, draft(long, "church")) or "")


def test_another_language_than_the_one_asked_for_is_told():
    foreign = draft("Una iglesia junto al mar bajo un cielo naranja", "iglesia")
    assert "another language (es)" in (fault(CHURCH, foreign, "en") or "")
    assert fault(CHURCH, foreign) is None
    assert "another language (zh)" in (fault(CHURCH, draft("一座古老的教堂在山坡上", "教堂"), "en") or "")
    for english in (
        "a chapel",
        "On the sand, at daybreak, a kirk.",
        "oil painting of a basilica, baroque, dramatic light",
    ):
        assert fault(CHURCH, draft(english, CHURCH.term_in(english)), "en") is None


def test_a_target_that_names_the_concept_by_other_words_than_stated_holds():
    assert fault(CHURCH, draft("two old churches by the sea", "a church", "two old inns by the sea", "inns")) is None


def test_nudity_may_change_more_words():
    body = find("nudity")
    dressed = draft(
        "a nude woman on a red sofa", "nude", "a woman in a long winter coat on a red sofa", "in a long winter coat"
    )
    changed = draft("a naked man stands on a hill", "naked", "a man sits dressed on some hill", "dressed")
    assert fault(body, dressed) is None
    assert MOST_CHANGED["object"] < share_changed(changed) <= MOST_CHANGED["nudity"]
    assert fault(body, changed) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [("two kitties", "kitty"), ("the cats' home", "cat"), ("a cattery", None), ("three felines", "feline")],
)
def test_inflections_name_the_concept(text, named):
    assert find("cat").term_in(text) == named
