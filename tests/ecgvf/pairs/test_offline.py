"""The offline writer: deterministic, honest about itself, and clear about what nano cannot draw."""

import json

import pytest

from ecgvf.core.concepts import Concept, find
from ecgvf.core.errors import WriterError
from ecgvf.llm.clients import Request, call_id
from ecgvf.pairs.checks import fault, implicit
from ecgvf.pairs.offline import OfflineWriter, scope
from ecgvf.pairs.parsing import Draft, parse
from ecgvf.world.grammar import load_world

WRITER = OfflineWriter()
DRAWABLE = ["church", "castle", "cat", "van-gogh"]


def concept(**fields) -> Concept:
    return Concept.model_validate(
        {"name": "church", "kind": "object", "terms": ["church"], "surrogates": ["hotel"]} | fields
    )


def request(name: str, split: str = "train", *, count: int = 100, iteration: int = 0, seed: int = 0) -> Request:
    return Request(concept=find(name), split=split, count=count, iteration=iteration, seed=seed)


def drafts(asked: Request) -> list[Draft]:
    found = parse(WRITER.write(asked).text, asked.split)
    assert all(isinstance(draft, Draft) for draft in found)
    return found


@pytest.mark.parametrize("name", DRAWABLE)
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_prompt_passes_the_checks(name, split):
    asked = request(name, split)
    found = drafts(asked)
    assert len(found) == asked.count
    assert [fault(asked.concept, draft) for draft in found] == [None] * asked.count


@pytest.mark.parametrize("name", DRAWABLE)
def test_equal_requests_give_equal_answers_and_other_requests_others(name):
    asked = request(name)
    assert WRITER.write(asked) == WRITER.write(asked)
    others = [request(name, iteration=1), request(name, seed=1), request(name, "test")]
    answers = [WRITER.write(other) for other in [asked, *others]]
    assert len({answer.text for answer in answers}) == len({answer.call_id for answer in answers}) == 4


def test_asking_for_fewer_gives_the_first_of_them():
    many, few = (json.loads(WRITER.write(request("church", count=count)).text) for count in (10, 4))
    assert few == many[:4]
    assert call_id(WRITER, request("church", count=10)) != call_id(WRITER, request("church", count=4))


def test_an_object_is_meant_in_every_wording():
    church = load_world().things["church"]
    said = {draft.target_term.casefold() for draft in drafts(request("church", count=300))}
    assert "church" in said
    assert said & set(church.terms[1:])
    assert said & set(church.misspelt)
    assert {"iglesia", "capilla"} & said
    assert any("worship" in term for term in said)


def test_surrogates_are_things_of_the_concept_and_never_its_neighbours():
    found = find("church")
    things = load_world().things
    allowed = {
        word
        for name in found.surrogates
        for word in (things[name].terms[0], *(noun.split(" ", 1)[1] for noun in things[name].spanish))
    }
    assert {draft.surrogate_term.casefold() for draft in drafts(request("church", count=300))} <= allowed


def test_a_style_is_removed_or_replaced():
    terms = {draft.surrogate_term for draft in drafts(request("van-gogh"))}
    assert "" in terms
    assert any("water" in term for term in terms)


def test_a_neighbour_is_never_a_surrogate():
    assert scope(concept(surrogates=["hotel", "bank"], neighbours=["savings bank"])).surrogates == ("hotel",)


def test_surrogates_go_by_any_of_their_terms():
    assert scope(concept(surrogates=["inn", "lighthouse", "date palm"])).surrogates == ("hotel", "palm")


def test_the_label_of_nano_says_what_a_concept_is():
    assert scope(concept(name="prayer", terms=["prayer"], judge_labels={"nano": ["church", "mosque"]})).targets == (
        "church",
        "mosque",
    )


@pytest.mark.parametrize(
    "cannot",
    [
        find("nudity"),
        concept(name="lighthouse", terms=["lighthouse"]),
        concept(name="plain", kind="style", terms=["plain"], surrogates=["watercolour"]),
        concept(name="church", kind="style"),
    ],
    ids=lambda found: f"{found.kind} {found.name}",
)
def test_what_nano_cannot_draw_is_an_error_that_names_what_it_can(cannot):
    with pytest.raises(WriterError, match=r"cannot draw .*church, .*sunflower.*van-gogh.*judge_labels"):
        WRITER.check(cannot)


def test_surrogates_that_nano_cannot_draw_are_an_error_that_names_what_it_can():
    with pytest.raises(WriterError, match=r"none of the surrogates of 'church' \(lighthouse, tower\).*hotel"):
        WRITER.check(concept(surrogates=["lighthouse", "tower"]))


def test_it_says_that_it_is_offline():
    answer = WRITER.write(request("church"))
    assert WRITER.name == "offline"
    assert answer.model_asked == answer.model_answered == "nano-grammar"
    assert answer.template == "nano/world.yaml"
    assert len(answer.template_hash) == 64


def test_implicit_targets_can_be_told():
    church = find("church")
    assert implicit(church, "a place of worship with a steeple")
    assert not implicit(church, "two Churches at dusk")
