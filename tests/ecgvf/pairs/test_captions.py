"""The retain split that ships: what it is about, and how it joins the other splits of a set."""

import json
from dataclasses import replace

import pytest

from ecgvf import Run
from ecgvf.core import concepts
from ecgvf.core.errors import SettingsError
from ecgvf.core.records import PromptPair
from ecgvf.pairs import captions
from ecgvf.pairs.captions import captioned_concepts
from ecgvf.pairs.default_counts import RETAINED_PROMPTS
from ecgvf.pairs.splits import split_records


def test_neighbours_and_near_labels_come_first_and_are_marked() -> None:
    found = {each.name: each for each in captioned_concepts(concepts.find("church"))}
    assert list(found)[:4] == ["castle", "mosque", "house", "school"]
    assert {name for name, each in found.items() if each.neighbour} >= {"castle", "mosque", "monastery", "palace"}
    assert {name for name, each in found.items() if each.surrogate} == set(concepts.find("church").surrogates)
    assert not found["golden retriever"].neighbour and "church" not in found and "claude-monet" not in found


def test_painters_must_stay_only_if_a_style_is_erased() -> None:
    found = {each.name: each for each in captioned_concepts(concepts.find("van-gogh"))}
    assert found["claude-monet"].kind == "style" and found["paul-gauguin"].neighbour
    assert "vincent-van-gogh" not in found and found["castle"].kind == "thing"
    assert all(len(each.captions) == RETAINED_PROMPTS for each in found.values())


@pytest.mark.parametrize("name", concepts.names())
def test_captions_of_what_must_stay_ship_and_none_names_the_concept(name: str) -> None:
    concept = concepts.find(name)
    found = captioned_concepts(concept)
    assert any(each.shipped and not each.neighbour for each in found)  # neighbours are never rehearsed
    texts = [text for each in found for text in each.captions]
    assert not [text for text in texts if concept.term_in(text) or concept.unseen_in(text)]


def test_what_the_file_does_not_caption_has_captions_from_templates() -> None:
    concept = concepts.find("church").model_copy(update={"neighbours": ("opera house", "the Eiffel Tower")})
    found = {each.name: each for each in captioned_concepts(concept)}
    assert not found["opera house"].shipped and found["opera house"].neighbour
    assert all("an opera house" in text for text in found["opera house"].captions)
    assert found["the Eiffel Tower"].captions[0] == "A photo of the Eiffel Tower."
    assert not [each.name for each in captioned_concepts(concepts.find("nudity")) if each.surrogate]  # no things


@pytest.mark.parametrize(
    ("concept", "name", "caption"),
    [
        ("nudity", "swimwear", "A photo of swimwear."),
        ("english-springer", "Brittany spaniel", "A photo of a Brittany spaniel."),
        ("english-springer", "English setter", "A photo of an English setter."),
    ],
)
def test_captions_from_templates_have_an_article_where_the_name_needs_one(
    concept: str, name: str, caption: str
) -> None:
    found = {each.name: each for each in captioned_concepts(concepts.find(concept))}
    assert not found[name].shipped and found[name].captions[0] == caption


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("18th century palace", "A photo of an 18th century palace."),
        ("8-bit console", "A photo of an 8 bit console."),
        ("19th century palace", "A photo of a 19th century palace."),
        ("1890s house", "A photo of an 1890s house."),
        ("180 degree panorama", "A photo of a 180 degree panorama."),
        ("unicorn", "A photo of a unicorn."),
        ("ukulele", "A photo of a ukulele."),
        ("eucalyptus", "A photo of a eucalyptus."),
        ("urn", "A photo of an urn."),
        ("hourglass", "A photo of an hourglass."),
        ("flowers", "A photo of flowers."),
        ("flowers in a vase", "A photo of flowers in a vase."),
        ("3 dogs", "A photo of 3 dogs."),
        ("people", "A photo of people."),
        ("bouquet of flowers", "A photo of a bouquet of flowers."),
        ("city bus", "A photo of a city bus."),
        ("compass", "A photo of a compass."),
        ("lens", "A photo of a lens."),
        ("triceratops", "A photo of a triceratops."),
        ("octopus", "A photo of an octopus."),
    ],
)
def test_captions_from_templates_have_the_article_of_the_spoken_word(name: str, caption: str) -> None:
    concept = concepts.find("church").model_copy(update={"neighbours": (name,)})
    found = {each.name: each for each in captioned_concepts(concept)}
    assert not found[name].shipped and found[name].captions[0] == caption


def test_a_neighbour_is_known_by_other_words_for_it() -> None:
    """Hyphens, and what ImageNet calls it: its captions name a saxophone and a lighthouse."""
    concept = concepts.find("tench").model_copy(update={"neighbours": ("saxophone", "lighthouse", "Tow-truck")})
    neighbours = {each.name for each in captioned_concepts(concept) if each.neighbour}
    assert neighbours >= {"sax", "beacon", "tow truck"}
    church = {each.name: each for each in captioned_concepts(concepts.find("church"))}
    assert church["school"].neighbour and not church["school bus"].neighbour
    buses = concepts.find("church").model_copy(update={"neighbours": ("bus",)})
    assert {each.name: each for each in captioned_concepts(buses)}["school bus"].neighbour


def test_a_thing_whose_captions_name_the_concept_is_left_out() -> None:
    concept = concepts.find("tench").model_copy(update={"name": "trumpet", "terms": ("trumpet",), "unseen_terms": ()})
    assert "cornet" not in {each.name for each in captioned_concepts(concept)}


def test_one_caption_of_each_comes_before_a_second_of_any() -> None:
    prompts = json.loads(captions.write(concepts.find("tench"), 2).text)["prompts"]
    names = [prompt["retained_concept"] for prompt in prompts]
    assert len(names) == 2 * len(set(names)) and len(set(names[: len(names) // 2])) == len(names) // 2


def test_the_retain_split_joins_a_set_and_the_others_are_kept() -> None:
    run = Run("church")
    without = run.generate(pairs=3, validation=2, tests=2)
    with_retained = run.generate(split="retain", retained=1)
    records = split_records(with_retained, "retain")
    assert with_retained.fingerprint != without.fingerprint and with_retained.summary["retain"]["malformed"] == 0
    for split in ("train", "validation", "test"):
        assert split_records(with_retained, split) == split_records(without, split)
    assert {(record.concept, record.surrogate, record.writer) for record in records} == {("church", None, "captions")}
    assert {record.retained_concept for record in records} >= {"castle", "golden retriever"}
    assert not [record for record in records if record.wording is not None]
    # Other splits are written anew, and the retain split stays.
    again = run.generate(pairs=2, validation=2, tests=2)
    assert split_records(again, "retain") == records
    assert run.generate(split="retain", retained=1).fingerprint != with_retained.fingerprint  # of other pairs


def test_a_changed_concept_leaves_out_only_what_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run("church")
    run.generate(pairs=2, validation=1, tests=1)
    run.generate(split="retain", retained=1)
    changed = replace(run, concept=run.concept.model_copy(update={"description": "A house of prayer."}))
    capsys.readouterr()
    assert changed.generate(split="retain", retained=1).summary["retain"]["accepted"]
    notes = " ".join(capsys.readouterr().err.split())
    assert "the concept has changed since the pairs of set" in notes
    assert "since the prompts of retained concepts" not in notes


def test_a_set_without_it_is_the_set_of_before() -> None:
    stage_set = Run("church").generate(pairs=2, validation=1, tests=1)
    assert "retain" not in stage_set.settings and "retain" not in stage_set.summary
    assert {record.split for record in stage_set.records(PromptPair)} == {"train", "validation", "test"}


def test_at_least_one_prompt_of_each() -> None:
    with pytest.raises(SettingsError, match=r"^retained 0: it must be at least 1"):
        Run("church").generate(split="retain", retained=0)
