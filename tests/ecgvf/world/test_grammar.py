"""Sentences mention exactly what the description does, in separate word orders, and depend on the seed alone."""

import random
import re
from dataclasses import replace
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.world.grammar import (
    HELD_OUT_SHARE,
    WORDINGS,
    Description,
    describe,
    find_styles,
    find_things,
    forms,
    held_out,
    load_world,
    sentence,
    with_article,
)
from tests.ecgvf.world.strategies import descriptions, seeds, which_forms, wordings

WORLD = load_world()


def mentions(text: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase and phrase.casefold() in text.casefold() for phrase in phrases)


@given(descriptions, which_forms, wordings, seeds)
def test_a_sentence_mentions_everything_in_its_description(description, which, wording, seed):
    written = sentence(description, random.Random(seed), forms=which, wording=wording)
    assert mentions(written.text, (written.term,))
    if wording != "any":
        assert written.wording == wording
    families = {"sky": WORLD.skies, "ground": WORLD.grounds, "companion": WORLD.companions}
    for slot, family in families.items():
        if name := getattr(description, slot):
            entry = family[name]
            assert mentions(written.text, (*entry.english, entry.keyword, *entry.spanish))
    if description.style != "plain":
        style = WORLD.styles[description.style]
        words = (*style.before, *style.after, style.keyword, *style.spanish_before, *style.spanish_after)
        assert mentions(written.text, words)
        assert mentions(written.text, (written.style,))


@given(descriptions, which_forms, wordings, seeds)
def test_sentences_are_tidy(description, which, wording, seed):
    text = sentence(description, random.Random(seed), forms=which, wording=wording).text
    assert text == text.strip()
    assert not re.search(r"  | ,|,,|\.\.|^[,:]|[\[\]{}]", text)


@given(descriptions, which_forms, wordings, seeds)
def test_a_seed_determines_the_sentence(description, which, wording, seed):
    first, second = (sentence(description, random.Random(seed), forms=which, wording=wording) for _ in range(2))
    assert first == second


@given(descriptions, st.sampled_from(list(WORLD.things)), which_forms, wordings, seeds)
def test_another_thing_changes_only_its_words(description, other_thing, which, wording, seed):
    first = sentence(description, random.Random(seed), forms=which, wording=wording)
    second = sentence(replace(description, thing=other_thing), random.Random(seed), forms=which, wording=wording)
    assert first.form == second.form
    assert _without(first.text, first.term) == _without(second.text, second.term)


def _without(text: str, term: str) -> str:
    """The text in lower case, with THING in place of the term and of an article before it."""
    return re.sub(rf"(?:\b(?:an?|una?) )?{re.escape(term.casefold())}", "THING", text.casefold(), count=1)


@pytest.mark.parametrize("spanish", [False, True])
def test_held_out_word_orders_are_not_in_training(spanish):
    train, held = forms("train", spanish=spanish), forms("held-out", spanish=spanish)
    assert not set(train) & set(held)
    assert not set(train.values()) & set(held.values())


def test_some_phrases_may_stand_in_for_all(monkeypatch):
    style = replace(WORLD.styles["van-gogh"], before=("a copy of",), after=("of a kind",))
    for seed in range(50):
        described = Description("church", style="van-gogh")
        written = sentence(
            described, random.Random(seed), wording="name", nouns=("a shed",), style=style, orders=("this-is", "seen")
        )
        assert written.term == "shed" and written.form in ("this-is", "seen")
        assert written.style == {"this-is": "a copy of", "seen": "of a kind"}[written.form]


def test_there_are_many_word_orders():
    assert len(forms("train")) >= 25
    assert len(forms("held-out")) >= 6


def test_a_term_belongs_to_one_thing_and_no_description_contains_one():
    owner = {term.casefold(): thing.name for thing in WORLD.things.values() for term in thing.terms}
    assert len(owner) == sum(len(thing.terms) for thing in WORLD.things.values())
    free_of_terms = [phrase for thing in WORLD.things.values() for phrase in thing.implicit]
    for family in (WORLD.skies, WORLD.grounds, WORLD.companions):
        free_of_terms += [phrase for entry in family.values() for phrase in (*entry.english, entry.keyword)]
    for phrase in free_of_terms:
        assert not [term for term in owner if re.search(rf"\b{re.escape(term)}(e?s)?\b", phrase.casefold())], phrase


def test_spanish_nouns_and_misspellings_belong_to_one_thing():
    for field in ("spanish", "misspelt", "implicit"):
        words = [word for thing in WORLD.things.values() for word in getattr(thing, field)]
        assert len(words) == len(set(words))


def test_wordings_are_as_frequent_as_stated():
    rng = random.Random(0)
    wordings = [sentence(Description("church"), rng).wording for _ in range(4000)]
    for wording, share in WORDINGS.items():
        assert wordings.count(wording) / len(wordings) == pytest.approx(share, abs=0.03)


def test_sentences_are_short():
    rng = random.Random(0)
    lengths = []
    for _ in range(1000):
        companion = rng.choice(list(WORLD.companions)) if rng.random() < 0.3 else None
        picked = (rng.choice(list(family)) for family in (WORLD.things, WORLD.skies, WORLD.grounds))
        described = describe(*picked, companion, rng.choice(list(WORLD.styles)), rng)
        lengths.append(len(sentence(described, rng).text.split()))
    assert 8 <= median(lengths) <= 13
    assert max(lengths) <= 40


def test_the_stated_share_of_combinations_is_held_out():
    rng = random.Random(0)
    companions = [None, *WORLD.companions]
    families = (list(WORLD.things), list(WORLD.skies), list(WORLD.grounds), companions, list(WORLD.styles))
    combinations = [tuple(rng.choice(family) for family in families) for _ in range(8000)]
    share = sum(held_out(*combination) for combination in combinations) / len(combinations)
    assert share == pytest.approx(HELD_OUT_SHARE, abs=0.01)


def test_held_out_combinations_never_change():
    """Nano's weights are fixed, and so is what they were trained on."""
    skies, grounds = WORLD.skies, WORLD.grounds
    found = [(sky, ground) for sky in skies for ground in grounds if held_out("church", sky, ground, None, "plain")]
    assert found == [("night", "grass"), ("storm", "snow"), ("aurora", "flowers")]


@pytest.mark.parametrize(("noun", "phrase"), [("inn", "an inn"), ("church", "a church"), ("elephant", "an elephant")])
def test_articles(noun, phrase):
    assert with_article(noun) == phrase


def test_things_and_styles_are_found_by_their_words() -> None:
    term = WORLD.things["castle"].terms[1]
    assert find_things(["Church", term.upper(), "castle", "moose", ""]) == ["church", "castle"]
    assert find_styles(["Van Gogh", "watercolor", "van-gogh", "moose", ""]) == ["van-gogh", "watercolour"]
