"""Each check of a draft, on both sides of its bound."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core.concepts import find
from ecgvf.pairs.checks import (
    MAX_CHANGED,
    MIN_SIMILARITY,
    PromptIndex,
    are_near_duplicates,
    contains,
    count_sentences,
    find_fault,
    share_changed,
)
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
    ids=lambda draft: draft.target,
)
def test_good_pair_has_no_fault(good):
    assert find_fault(CHURCH, good) is None


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (draft("a hotel", "church", "a bank", "bank"), "target does not contain"),
        (draft("a churchyard", "church", "a bank", "bank"), "target does not contain"),
        (draft("a church", "church", "a Chapel", "Chapel"), "names the concept: 'chapel'"),
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
        (draft("a church", "church", PARTY, PARTY), "other words changed: 100%, at most 25% are allowed"),
        (draft("a church at dusk", "church", f"{PARTY} at dusk", PARTY), "words changed"),
        (
            draft(f"{IMPLICIT} at dusk", f"{IMPLICIT} at dusk", "a hotel", "hotel"),
            "stated term is too long: 13 words, at most 12",
        ),
        (draft("a chruch", "chruch", PARTY, PARTY), "words changed"),
    ],
    ids=lambda value: value.surrogate if isinstance(value, Draft) else "",
)
def test_bad_pair_has_a_fault(bad, fault):
    assert fault in (find_fault(CHURCH, bad) or "")


def test_bound_on_changed_words():
    """A change of one word in four is at the bound, one in three above."""
    at = draft("church on snowy ground tonight", "church", "hotel on sandy ground tonight", "hotel")
    above = draft("church on snowy ground", "church", "hotel on sandy ground", "hotel")
    assert share_changed(at) == pytest.approx(MAX_CHANGED["object"])
    assert find_fault(CHURCH, at) is None
    assert share_changed(above) > MAX_CHANGED["object"]
    assert find_fault(CHURCH, above)


@pytest.mark.parametrize(
    ("target", "term", "surrogate", "replacement"),
    [
        ("Die Kirche am See", "Kirche", "Das Hotel am See", "Hotel"),
        ("Ein Weg zur Kirche im Wald", "Kirche", "Ein Weg zum Hotel im Wald", "Hotel"),
        ("Schnee an der Kirche", "Kirche", "Schnee am Hotel", "Hotel"),
        ("L'église au bord du lac", "église", "La tour au bord du lac", "tour"),
        ("Une église au bord du lac", "église", "Un hôtel au bord du lac", "hôtel"),
        ("Le toit de l'église", "église", "Le toit du château", "château"),
        ("Uma igreja à beira do lago", "igreja", "Um hotel à beira do lago", "hotel"),
        ("Neve na igreja", "igreja", "Neve no hotel", "hotel"),
        ("La chiesa sul lago", "chiesa", "L'albergo sul lago", "albergo"),
        ("La porta della chiesa", "chiesa", "La porta dell'albergo", "albergo"),
        ("De kerk aan zee", "kerk", "Het hotel aan zee", "hotel"),
    ],
)
def test_articles_change_with_the_noun_in_other_languages(target, term, surrogate, replacement):
    pair = replace(draft(target, term, surrogate, replacement), wording="other_language")
    assert find_fault(CHURCH, pair, "en", split="test") is None


def test_articles_change_with_the_noun_in_the_language_of_the_template():
    pair = draft("Die Kirche steht am See", "Kirche", "Das Hotel steht am See", "Hotel")
    assert find_fault(CHURCH, pair, "de") is None


def test_words_that_are_articles_in_other_languages_count_in_english():
    pair = draft("a church as no other", "church", "a hotel des all other", "hotel")
    assert "words changed" in (find_fault(CHURCH, pair, "en") or "")


def test_contains_matches_whole_words_only():
    assert contains("The Old-Church square", "old church")
    assert contains("churches", "church")
    assert not contains("churchill", "church")
    assert not contains("anything", " ")
    assert contains("a (church", "(church") is contains("a (church", "church")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("a church at dusk", "A church, at dusk.", True),
        ("a church at dusk", "At dusk the church", True),
        ("a church at dusk", "a church at dawn", False),
        ("one two three four five", "one two three four", True),
        ("one two three four", "one two three", False),
    ],
)
def test_near_duplicates(first, second, expected):
    assert are_near_duplicates(first, second) is are_near_duplicates(second, first) is expected


PROMPTS = st.lists(st.sampled_from("bcdefghijk"), max_size=14).map(" ".join)


@given(st.lists(PROMPTS, max_size=12), PROMPTS)
def test_index_finds_what_comparing_with_each_prompt_finds(prompts, prompt):
    def near(first, second):
        shared, every = len(first & second), len(first | second)
        return every > 0 and shared / every >= MIN_SIMILARITY

    expected = next((earlier for earlier in prompts if near(set(earlier.split()), set(prompt.split()))), None)
    assert PromptIndex(prompts).near_duplicate(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "number"),
    [("a church", 1), ("A church.", 1), ("One. Two! Three?", 3), ("One. Two. Three. Four.", 4), ("v1.5 of it", 1)],
)
def test_sentences_are_counted(prompt, number):
    assert count_sentences(prompt) == number


def test_prompt_of_four_sentences_has_a_fault():
    long = "A church. It is old. It is cold. It is tall."
    assert "too many sentences: 4, at most 3 are allowed" in (find_fault(CHURCH, draft(long, "church")) or "")


@pytest.mark.parametrize("split", ["train", "test", "retain"])
@pytest.mark.parametrize("prompt", ["⛪ 🌄 🌳", "...", "The"])
def test_prompt_without_a_word_has_a_fault(prompt, split):
    assert "the target has no word" in (find_fault(CHURCH, draft(prompt, prompt), split=split) or "")


def test_surrogate_without_a_word_has_a_fault():
    assert "the surrogate has no word" in (find_fault(CHURCH, draft("a church.", "church", "a .", "")) or "")


def test_prompt_in_another_language_has_a_fault():
    foreign = draft("Una iglesia junto al mar bajo un cielo naranja", "iglesia")
    assert "another language: 'es', expected 'en'" in (find_fault(CHURCH, foreign, "en") or "")
    assert find_fault(CHURCH, foreign) is None
    assert "another language: 'zh'" in (find_fault(CHURCH, draft("一座古老的教堂在山坡上", "教堂"), "en") or "")
    for english in (
        "a chapel",
        "On the sand, at daybreak, a chapel.",
        "oil painting of a cathedral, baroque, dramatic light",
    ):
        assert find_fault(CHURCH, draft(english, CHURCH.term_in(english)), "en") is None


def test_prompt_that_was_asked_for_in_another_language_may_be_in_one():
    foreign = draft("Una iglesia junto al mar bajo un cielo naranja", "iglesia")
    assert find_fault(CHURCH, replace(foreign, wording="other_language"), "en", split="test") is None


@pytest.mark.parametrize(
    "bad",
    [
        draft("a church at dusk", "church", "a castle at dusk", "castle"),
        draft("a church at dusk", "church", "two castles at dusk", "castles"),
        draft("a church at dusk by the calm sea", "church", "a castle hotel at dusk by the calm sea", "hotel"),
        draft("a church by a castle", "church", "a castle by a castle", "castle"),
        draft("a church at dusk", "church", "a castle at dusk", ""),
    ],
    ids=lambda draft: draft.surrogate,
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_neighbour_is_never_a_surrogate(bad, split):
    assert "names a neighbour of the concept: 'castle'" in (find_fault(CHURCH, bad, split=split) or "")


def test_neighbour_may_stand_beside_the_concept():
    assert find_fault(CHURCH, draft("a church by a castle", "church", "a hotel by a castle", "hotel")) is None
    portrait = draft("a nude portrait in oil", "nude portrait", "a fully clothed portrait in oil", "clothed portrait")
    assert find_fault(find("nudity"), portrait) is None


@pytest.mark.parametrize("surrogates", ["single", "per-term", "free"])
def test_surrogate_without_a_term_only_lacks_words_of_the_target(surrogates):
    lighthouse = draft("a church on a hill at dusk", "church", "a lighthouse on a hill at dusk", "")
    assert "states no term" in (find_fault(CHURCH, lighthouse, surrogate_choice=surrogates) or "")
    painter = find("van-gogh")
    for target, term, surrogate in (
        ("A church, on a hill by the sea, at dusk!", "church", "the hill by the sea at dusk"),
        ("Church and the rectory at dusk", "Church and", "A rectory at dusk."),
        ("una iglesia sobre una colina", "iglesia sobre", "Una colina"),
    ):
        assert find_fault(CHURCH, draft(target, term, surrogate, ""), surrogate_choice=surrogates) is None
    for target, term, surrogate in (
        ("A tram in the snow, in the style of Van Gogh.", "in the style of Van Gogh", "The tram in snow."),
        ("梵高风格的村庄", "梵高风格的", "村庄"),
    ):
        assert find_fault(painter, draft(target, term, surrogate, ""), surrogate_choice=surrogates) is None


def test_training_pair_never_contains_an_unseen_term():
    kirk = draft("two old kirks by the sea", "kirks", "two old inns by the sea", "inns")
    assert "kept for evaluation: 'kirk'" in (find_fault(CHURCH, kirk) or "")
    assert find_fault(CHURCH, kirk, split="validation") is find_fault(CHURCH, kirk, split="test") is None
    named = draft("an old church", "church", "an old churh", "churh")
    assert "names the concept: 'churh'" in (find_fault(CHURCH, named) or "")


def test_target_may_name_the_concept_by_other_words_than_stated():
    assert (
        find_fault(CHURCH, draft("two old churches by the sea", "a church", "two old inns by the sea", "inns")) is None
    )


def test_nudity_may_change_more_words():
    body = find("nudity")
    dressed = draft(
        "a nude woman on a red sofa", "nude", "a woman in a long winter coat on a red sofa", "in a long winter coat"
    )
    changed = draft("a naked man stands on a hill", "naked", "a man sits dressed on some hill", "dressed")
    assert find_fault(body, dressed) is None
    assert MAX_CHANGED["object"] < share_changed(changed) <= MAX_CHANGED["nudity"]
    assert find_fault(body, changed) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [("two kitties", "kitty"), ("the cats' home", "cat"), ("a cattery", None), ("three felines", "feline")],
)
def test_inflections_name_the_concept(text, named):
    assert find("cat").term_in(text) == named
