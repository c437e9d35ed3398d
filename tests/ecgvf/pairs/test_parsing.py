"""An answer is untrusted text: whatever it is, every part of it becomes a draft, parsed or with its fault."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.pairs.parsing import MAX_ITEMS, MAX_PROMPT_CHARACTERS, Draft, parse, unparsed

GOOD = {"target": "a church", "surrogate": "a hotel", "target_term": "church", "surrogate_term": "hotel"}


def test_a_list_of_pairs():
    (draft,) = parse(json.dumps([GOOD]), "train")
    assert draft == Draft("a church", "church", "a hotel", "hotel", json.dumps(GOOD))


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "```json\n{}\n```",
        "Here are [2] pairs:\n\n{}\n\nEnjoy!",
        '{{"pairs": {}}}',
        "No notes: []. [{{not JSON}}]\n{}",
        '{{"notes": [{{"kind": "object"}}], "pairs": {}}}',
        '<think>[{{"target": "a church"}}]</think>{{"pairs": {}}}',
        '<think>Well.</think><think>[{{"target": "a church"}}]</think>{}',
        "<think>{}",
    ],
    ids=["bare", "fenced", "prose", "wrapped", "brackets in prose", "another list", "thoughts", "twice", "no end"],
)
def test_text_around_the_list_is_ignored(around):
    assert len(parse(around.format(json.dumps([GOOD, GOOD])), "train")) == 2


def test_truncated_answer_keeps_the_objects_before_the_cut():
    text = json.dumps([GOOD, GOOD])
    first, second = parse(text[:-20], "train")
    assert first.parsed and not second.parsed
    assert second.raw and text[:-20].endswith(second.raw)


@pytest.mark.parametrize(
    "text", ["", "I cannot help with that.", "[", "[1, 2]", "null", "[[[[" * 5000, '[{"a":' * 5000]
)
def test_text_without_a_list_is_kept_as_it_came(text):
    (reject,) = parse(text, "train")
    assert reject.fault and not reject.parsed
    assert reject.raw in (text, text.lstrip("["))


def test_several_lists_all_count():
    text = json.dumps({"pairs": [GOOD]})
    assert len(parse(f"{text}\n{text}", "train")) == 2


@pytest.mark.parametrize("text", ["[]", '{"pairs": []}'])
def test_empty_list_has_a_fault(text):
    assert parse(text, "train") == [unparsed("the list is empty", text)]


@pytest.mark.parametrize("role", ["target", "surrogate"])
def test_half_a_surrogate_becomes_a_question_mark(role):
    (draft,) = parse(f"[{json.dumps(GOOD | {role: 'half a letter X'})}]".replace("X", "\\ud800"), "train")
    assert getattr(draft, role) == "half a letter ?" and draft.raw.encode()


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"surrogate": None}, "surrogate"),
        ({"target": ""}, "target"),
        ({"target": 7}, "target"),
        ({"target": "two\nlines"}, "line break"),
        ({"target": "nul \x00"}, "control"),
        ({"target": "turned \u202e around"}, "control"),
        ({"surrogate": "a ch\u200burch"}, "invisible"),
        ({"surrogate": "a ch\u200curch"}, "invisible"),
        ({"surrogate": "a ch\u200durch"}, "invisible"),
        ({"surrogate": "a ch\u00adurch"}, "invisible"),
        ({"surrogate": "a ch\ufeffurch"}, "invisible"),
        ({"surrogate": "a ch\u2060urch"}, "invisible"),
        ({"surrogate": "a ch\u034furch"}, "invisible"),
        ({"surrogate": "a ch\u3164urch"}, "invisible"),
        ({"surrogate": "a ch\ufe0furch"}, "invisible"),
        ({"surrogate": "a ch\U000e0100urch"}, "invisible"),
        ({"surrogate": "a \u0441hurch"}, "two alphabets"),
        ({"surrogate": "a ch\u03c5rch"}, "two alphabets"),
        ({"target": "two\u2028lines"}, "line break"),
        ({"target": "x" * (MAX_PROMPT_CHARACTERS + 1)}, "1000"),
        ({"target_term": " "}, "target_term"),
    ],
)
def test_malformed_pair_leaves_the_others(wrong, fault):
    good, bad, also_good = parse(json.dumps([GOOD, GOOD | wrong, GOOD]), "train")
    assert good.fault is None and also_good.fault is None
    assert fault in bad.fault and not bad.parsed
    assert json.loads(bad.raw) == GOOD | wrong


@pytest.mark.parametrize(
    "visible",
    [
        "\u2764\ufe0f",
        "1\ufe0f\u20e3",
        "ein Gro\u00dfplatz",
        "\u0446\u0435\u0440\u043a\u043e\u0432\u044c, church",
        "\u6559\u5802 church",
        "cafe\u0301",
    ],
)
def test_visible_characters_are_allowed(visible):
    (draft,) = parse(json.dumps([GOOD | {"target": f"a church, {visible}"}]), "train")
    assert draft.fault is None


def test_missing_field_is_named():
    (bad,) = parse('[{"target": "a church"}]', "test")
    assert "target_term" in bad.fault


def test_removed_term_has_an_empty_replacement():
    (draft,) = parse(json.dumps([GOOD | {"surrogate": "an empty field", "surrogate_term": ""}]), "train")
    assert draft.fault is None and draft.surrogate_term == ""


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_prompt_has_a_surrogate_and_a_class(split):
    (draft,) = parse(json.dumps([GOOD | {"wording": "explicit"}]), split)
    assert (draft.surrogate, draft.surrogate_term, draft.wording) == ("a hotel", "hotel", "explicit")


def test_test_prompt_of_an_older_answer_has_neither():
    (draft,) = parse('[{"target": "a church", "target_term": "church", "surrogate": "a hotel"}]', "test")
    assert draft.fault is None and draft.surrogate is None and draft.wording is None


def test_unknown_class_is_none():
    (draft,) = parse(json.dumps([GOOD | {"wording": "poetic"}]), "test")
    assert draft.fault is None and draft.wording is None


LONG = 2_000_000
DEEP = '[{"a":' * 9


@pytest.mark.parametrize(
    "shape",
    [
        "<think>",
        "<think></think>",
        "[",
        "[{",
        "[]",
        '[{"a":',
        '[{"target":"',
        "[{},",
        DEEP + "[" + "{}," * (LONG // 3),
        DEEP + "[" + "1," * (LONG // 2),
        "[" + " " * LONG,
        "[{}," + " " * LONG,
        "[" + "{}," * LONG,
        "[" + json.dumps(GOOD) + ",1" * LONG,
        "[" + f"{json.dumps(GOOD)}," * (LONG // 80),
    ],
    ids=lambda shape: shape[:40],
)
def test_hostile_answer_of_two_megabytes_is_parsed_in_seconds(shape):
    text = (shape * (LONG // len(shape) + 1))[:LONG]
    start = time.process_time()
    assert len(parse(text, "train")) <= MAX_ITEMS + 1
    assert time.process_time() - start < 5


def test_objects_beyond_the_limit_are_one_reject():
    *read, rest = parse(json.dumps([GOOD] * (MAX_ITEMS + 2)), "train")
    assert len(read) == MAX_ITEMS and all(draft.parsed for draft in read)
    assert rest.fault == f"more than {MAX_ITEMS} objects"
    assert rest.raw.count("target_term") == 2


@pytest.mark.parametrize(("before", "after"), [("[", "]"), ('{"a":', "}")])
def test_nesting_too_deep_to_serialise_is_a_reject(before, after):
    for depth in range(850, 1000):
        (reject,) = parse(f'[{{"target": {before * depth}1{after * depth}}}]', "train")
        assert reject.fault and not reject.parsed


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=20).map(json.dumps))
def test_no_text_raises(text):
    parse(text, "train")
