"""An answer is read in one place: what cannot be parsed, was copied or fails the checks is a draft with its fault."""

import json

import pytest

from ecgvf.core.concepts import find
from ecgvf.pairs.answers import read_answer
from ecgvf.pairs.templates import load

CHURCH = find("church")
GOOD = {"target": "a church", "surrogate": "a hotel", "target_term": "church", "surrogate_term": "hotel"}


def test_each_draft_has_its_fault() -> None:
    items = [GOOD, {"target": "a church"}, GOOD | {"surrogate": "a chapel", "surrogate_term": "chapel"}]
    drafts = read_answer(CHURCH, json.dumps(items), "train")
    assert [draft.fault for draft in drafts] == [
        None,
        "target_term: Field required",
        "the surrogate names the concept: 'chapel'",
    ]
    assert [draft.parsed for draft in drafts] == [True, False, True]
    assert [json.loads(draft.raw) for draft in drafts] == items


def test_only_the_requested_language_is_accepted() -> None:
    answer = '[{"target": "Una iglesia junto al mar bajo un cielo naranja", "target_term": "iglesia"}]'
    [spanish] = read_answer(CHURCH, answer, "test", "en")
    assert "another language: 'es', expected 'en'" in (spanish.fault or "")
    assert [draft.fault for draft in read_answer(CHURCH, answer, "test")] == [None]


@pytest.mark.parametrize("split", ["train", "test"])
def test_copy_of_the_example_in_the_request_is_not_a_draft(split: str) -> None:
    prompt = load("object", split).render(CHURCH, count=1, iteration=0)
    [copy] = read_answer(CHURCH, prompt, split, prompt=prompt)
    assert (copy.parsed, copy.fault) == (False, "copied from the example")
    assert json.loads(copy.raw)["target"] in prompt


@pytest.mark.parametrize("mark", ["- ", "1. ", ""])
def test_each_line_of_the_request_allows_one_prompt_about_its_retained_concept(mark: str) -> None:
    names = ["castle", "factory", "factory", "golden retriever"]
    prompt = "Write 4 captions.\n\n" + "\n".join(f"{mark}{name}" for name in names)
    answered = ["factory", "hotel", "factory", "castle", "factory"]
    items = [{"target": f"A {name} seen from hill {n}.", "retained_concept": name} for n, name in enumerate(answered)]
    fault = "the prompt is about a concept that was not requested"
    faults = [None, f"{fault}: 'hotel'", None, None, f"{fault} again: 'factory'"]
    assert [draft.fault for draft in read_answer(CHURCH, json.dumps(items), "retain", prompt=prompt)] == faults


@pytest.mark.parametrize("mark", ["- ", "* ", "2. ", "(3) ", ""])
def test_a_retained_concept_may_begin_with_a_digit(mark: str) -> None:
    concept = CHURCH.model_copy(update={"neighbours": ("18th-century palace", "palace")})
    captions = {"A palace of the 18th century by a lake.": "18th-century palace", "A palace on a hill.": "palace"}
    items = [{"target": target, "retained_concept": name} for target, name in captions.items()]
    prompt = f"Write 1 caption.\n\n{mark}18th-century palace\n"
    drafts = read_answer(concept, json.dumps(items), "retain", prompt=prompt)
    assert [draft.fault for draft in drafts] == [None, "the prompt is about a concept that was not requested: 'palace'"]
