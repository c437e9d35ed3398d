from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ear.method.vocabulary import vocabulary, word_prompts
from ecgvf.core.records import PromptPair
from ecgvf.janus import load
from tests.ecgvf.conftest import BLANK

WORDS = ["mosque", "sloop", "between"]


def pair(target: str, term: str) -> PromptPair:
    fields: dict[str, Any] = {**BLANK, "target": target, "target_term": term}
    return PromptPair(**fields)


def test_the_vocabulary_has_whole_words_alone() -> None:
    words = vocabulary(load("janus-nano"))
    assert {"mosque", "hotel", "castle"} <= set(words)
    assert words == sorted(set(words))
    assert all(word.isalpha() and len(word) >= 3 for word in words)


def test_a_word_stands_in_place_of_the_term() -> None:
    pairs = [pair("A Church on grass", "church"), pair("a place to pray", "church"), pair("snow (a chapel)", "chapel")]
    prompts = word_prompts(WORDS, pairs, 4, seed=0)
    assert [prompt.split()[0] for prompt in prompts] == ["A", "snow", "A", "snow"]
    assert not any("church" in prompt.lower() or "chapel" in prompt for prompt in prompts)
    assert all(any(word in prompt for word in WORDS) for prompt in prompts)
    assert word_prompts(WORDS, pairs[1:2], 4, seed=0) == word_prompts([], pairs, 4, seed=0) == []


def test_pairs_without_a_term_and_words_that_contain_it_are_left_alone() -> None:
    pairs = [pair("a place to pray", ""), pair("a cathedral", "cat"), pair("two cats, a cathedral", "cat")]
    prompts = word_prompts(["sloop"], pairs, 2, seed=0)
    assert prompts == ["two sloop, a cathedral"] * 2


@given(st.integers(0, 50), st.integers(0, 2**32))
def test_the_seed_decides_the_words(count: int, seed: int) -> None:
    pairs = [pair("a church on grass", "church")]
    prompts = word_prompts(WORDS, pairs, count, seed)
    assert prompts == word_prompts(WORDS, pairs, count, seed)
    assert len(prompts) == count
    assert all(prompt.removeprefix("a ").removesuffix(" on grass") in WORDS for prompt in prompts)
