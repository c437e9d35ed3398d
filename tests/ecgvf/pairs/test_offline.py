"""The offline writer is deterministic, states its provenance, and refuses what nano cannot render."""

import json
from collections import Counter
from functools import cache

import pytest

from ecgvf.core.concepts import Concept, find
from ecgvf.core.errors import WriterError
from ecgvf.core.records import WORDINGS, Split, Wording
from ecgvf.pairs.answers import read_answer
from ecgvf.pairs.offline import OfflineWriter, find_candidates, phrases_of
from ecgvf.pairs.parsing import Draft, parse
from ecgvf.pairs.writer import Request
from ecgvf.world.grammar import find_things, load_world

WRITER = OfflineWriter()
RENDERABLE = ["church", "castle", "cat", "van-gogh"]


def concept(**fields) -> Concept:
    return Concept.model_validate(
        {"name": "church", "kind": "object", "terms": ["church"], "surrogates": ["hotel"]} | fields
    )


def request(name: str, split: str = "train", *, count: int = 100, iteration: int = 0, seed: int = 0) -> Request:
    return Request(concept=find(name), split=split, count=count, iteration=iteration, seed=seed)


def drafts(request: Request) -> list[Draft]:
    found = parse(WRITER.write(request).text, request.split)
    assert all(draft.parsed for draft in found)
    return found


@pytest.mark.parametrize("name", RENDERABLE)
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_prompt_passes_the_checks(name, split):
    answer = WRITER.write(request(name, split))
    assert [draft.fault for draft in read_answer(find(name), answer.text, split)] == [None] * 100


@pytest.mark.parametrize("name", RENDERABLE)
def test_equal_requests_give_equal_answers_and_other_requests_others(name):
    assert WRITER.write(request(name)) == WRITER.write(request(name))
    requests = [
        request(name),
        request(name, iteration=1),
        request(name, seed=1),
        request(name, "validation"),
        request(name, "test"),
    ]
    answers = [WRITER.write(each) for each in requests]
    assert len({answer.text for answer in answers}) == len({answer.provenance.call_id for answer in answers}) == 5


def test_smaller_request_gives_the_first_prompts_of_a_larger_one():
    many, few = (json.loads(WRITER.write(request("church", count=count)).text) for count in (10, 4))
    assert few == many[:4]
    assert WRITER.call_id(request("church", count=10)) != WRITER.call_id(request("church", count=4))


@cache
def written(name: str, split: Split) -> list[Draft]:
    """300 prompts of a split."""
    return drafts(request(name, split, count=300))


def words(name: str, split: Split, wording: Wording) -> set[str]:
    """The words for the concept in a split."""
    found = [draft for draft in written(name, split) if draft.wording == wording]
    return {draft.target_term.casefold() for draft in found}


def test_training_pairs_use_each_class_but_another_language_and_an_unseen_form():
    assert words("church", "train", "explicit") == {"church"}
    assert words("church", "train", "synonym") == {"chapel", "cathedral"}
    assert words("church", "train", "implicit") == {"building with a cross on its roof"}
    assert words("church", "train", "misspelled") == {"chruch"}
    assert not words("church", "train", "other_language") | words("church", "train", "unseen_form")


def test_validation_has_the_first_half_of_what_training_lacks_and_test_has_all():
    assert words("church", "validation", "explicit") == words("church", "test", "unseen_form") == {"church"}
    assert words("church", "validation", "synonym") == {"kirk"}
    assert words("church", "test", "synonym") == {"kirk", "basilica"}
    first, second = "place of worship with a steeple", "place where christians pray on sundays"
    assert words("church", "validation", "implicit") == {first} and words("church", "test", "implicit") == {
        first,
        second,
    }
    assert words("church", "validation", "misspelled") == words("church", "test", "misspelled") == {"churh"}
    assert words("church", "validation", "other_language") == {"iglesia"}
    assert words("church", "test", "other_language") == {"iglesia", "capilla"}


@pytest.mark.parametrize("name", RENDERABLE)
def test_no_training_pair_contains_what_is_held_out(name):
    concept, [target] = find(name), find_candidates(find(name)).targets
    assert not [draft for draft in written(name, "train") if concept.unseen_in(draft.target)]
    training = phrases_of(concept, target, "train")
    used = {phrase for chosen in training.values() for phrase in chosen.phrases}
    for split in ("validation", "test"):
        for wording, chosen in phrases_of(concept, target, split).items():
            if wording == "explicit":
                assert set(chosen.phrases) <= used
            elif wording == "unseen_form":
                assert not set(chosen.orders) & {order for other in training.values() for order in other.orders}
            else:
                assert chosen.phrases and not set(chosen.phrases) & used


@pytest.mark.parametrize("name", RENDERABLE)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_has_equally_many_of_each_class(name, split):
    counts = Counter(draft.wording for draft in drafts(request(name, split, count=60)))
    assert set(counts) == (set(WORDINGS) - {"implicit", "misspelled"} if name == "van-gogh" else set(WORDINGS))
    assert set(counts.values()) == {60 // len(counts)}


def test_concept_without_unseen_terms_measures_its_classes_in_words_of_training():
    mosque = concept(name="mosque", terms=["mosque"])
    evaluation = phrases_of(mosque, "mosque", "validation")
    assert set(evaluation["synonym"].nouns) == set(phrases_of(mosque, "mosque", "train")["synonym"].nouns)
    assert set(evaluation) == set(WORDINGS)


def test_surrogates_are_things_of_the_concept_and_never_its_neighbours():
    things = load_world().things
    allowed = {
        word
        for name in find("church").surrogates
        for word in (things[name].terms[0], *(noun.split(" ", 1)[1] for noun in things[name].spanish))
    }
    assert {draft.surrogate_term.casefold() for draft in written("church", "train")} <= allowed


def surrogates(writer: OfflineWriter, name: str) -> dict[str, set[str]]:
    """Term of the concept → what stands for it."""
    found: dict[str, set[str]] = {}
    for draft in parse(writer.write(request(name)).text, "train"):
        term = find(name).term_in(draft.target) or ""
        found.setdefault(term, set()).update(find_things([draft.surrogate_term or ""]) or {draft.surrogate_term or ""})
    return found


def test_one_surrogate_stands_for_the_concept_unless_another_choice_is_made():
    single = surrogates(OfflineWriter(), "church")
    assert len(single) > 2 and set.union(*single.values()) == {"hotel"}
    per_term = surrogates(OfflineWriter("per-term"), "church")
    assert per_term["church"] == per_term[""] == {"hotel"} and per_term["cathedral"] == {"factory"}
    assert all(len(things) == 1 for things in per_term.values())
    assert len(set.union(*surrogates(OfflineWriter("free"), "church").values())) == 6


def test_surrogates_change_nothing_else_in_a_prompt():
    texts = [json.loads(OfflineWriter(which).write(request("cat")).text) for which in ("single", "per-term", "free")]
    assert len({json.dumps([pair["target"] for pair in pairs]) for pairs in texts}) == 1
    settings = [OfflineWriter(which).settings() for which in ("single", "per-term", "free")]
    assert [each.get("surrogates") for each in settings] == ["single", "per-term", None]


def test_surrogate_of_a_style_removes_or_replaces_it():
    plain = {"", *load_world().styles["plain"].before}
    assert set.union(*surrogates(OfflineWriter(), "van-gogh").values()) <= plain
    terms = set.union(*surrogates(OfflineWriter("free"), "van-gogh").values())
    assert "" in terms
    assert any("water" in term for term in terms)


def test_neighbour_is_never_a_surrogate():
    assert find_candidates(concept(surrogates=["hotel", "bank"], neighbours=["savings bank"])).surrogates == ("hotel",)


def test_surrogates_are_found_by_any_of_their_terms():
    assert find_candidates(concept(surrogates=["inn", "lighthouse", "date palm"])).surrogates == ("hotel", "palm")


def test_nano_labels_define_the_targets():
    assert find_candidates(
        concept(name="prayer", terms=["prayer"], judge_labels={"nano": ["church", "mosque"]})
    ).targets == (
        "church",
        "mosque",
    )


@pytest.mark.parametrize(
    "unrenderable",
    [
        find("nudity"),
        concept(name="lighthouse", terms=["lighthouse"]),
        concept(name="plain", kind="style", terms=["plain"], surrogates=["watercolour"]),
        concept(name="church", kind="style"),
    ],
    ids=lambda concept: f"{concept.kind} {concept.name}",
)
def test_concept_outside_nanos_world_is_an_error_that_lists_its_world(unrenderable):
    with pytest.raises(WriterError, match=r"cannot render .*judge_labels.*church, .*sunflower.*van-gogh"):
        WRITER.check(unrenderable)


def test_surrogates_outside_nanos_world_are_an_error_that_lists_its_things():
    with pytest.raises(WriterError, match=r"none of the surrogates of 'church' \(lighthouse, tower\).*hotel"):
        WRITER.check(concept(surrogates=["lighthouse", "tower"]))


def test_answers_state_their_provenance():
    answer = WRITER.write(request("church"))
    assert WRITER.name == "offline"
    assert answer.provenance.model_asked == answer.provenance.model_answered == "nano-grammar"
    assert answer.provenance.template == "nano/world.yaml"
    assert len(answer.provenance.template_hash) == 64


def test_implicit_targets_are_recognised():
    church = find("church")
    assert church.term_in("a place of worship with a steeple") is None
    assert church.term_in("two Churches at dusk") is not None
