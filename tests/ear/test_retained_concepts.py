from dataclasses import replace

from ear.retained_concepts import rehearsal_prompts, rehearsed_concepts, retained_concepts
from ecgvf.core import concepts
from ecgvf.core.dataset import Dataset
from ecgvf.world import grammar


def test_in_nano_every_other_thing_is_retained(dataset: Dataset) -> None:
    retained = retained_concepts(dataset)
    assert {concept.name for concept in retained} == set(grammar.load_world().things) - {"church"}
    assert {concept.name for concept in retained if concept.neighbour} == {"castle", "mosque", "house", "school"}
    assert {concept.family for concept in retained} >= {"building"}


def test_if_a_style_is_erased_the_other_styles_are_retained_too(dataset: Dataset) -> None:
    style = replace(dataset, concept=concepts.find("van-gogh"), judge="nano-style")
    retained = retained_concepts(style)
    names = [concept.name for concept in retained if concept.family == "style"]
    assert names == [name for name in grammar.load_world().styles if name not in {"plain", "van-gogh"}]
    assert {concept.name for concept in retained} >= set(grammar.load_world().things)
    assert not [prompt for _, prompt in rehearsal_prompts(style, 300) if style.concept.term_in(prompt)]


def test_outside_nano_the_captions_that_ship_are_about_what_must_stay(dataset: Dataset) -> None:
    retained = retained_concepts(replace(dataset, judge="resnet50"))
    assert [concept.name for concept in retained][:4] == ["castle", "mosque", "house", "school"]
    hotel, castle = (next(concept for concept in retained if concept.name == name) for name in ("hotel", "castle"))
    assert hotel.surrogate and hotel.prompts(20, 0, "validation") == []  # no caption of it ships
    assert {identity for identity, _ in castle.prompts(20, 0, "validation")} == {"castle/1"}
    assert sum(concept.family == "thing" and not concept.neighbour for concept in retained) > 50


def test_every_second_concept_in_alphabetical_order_is_rehearsed(dataset: Dataset) -> None:
    everything, half = (rehearsed_concepts(dataset, 200, choice) for choice in ("all", "half"))
    assert half == everything[::2] and len(everything) == 27


def test_neighbours_and_the_concept_are_never_rehearsed(dataset: Dataset) -> None:
    prompts = rehearsal_prompts(dataset, 200)
    assert len(prompts) == 200
    assert not {concept.name for concept, _ in prompts} & {"church", "castle", "mosque", "house", "school"}
    assert not [prompt for _, prompt in prompts if dataset.concept.term_in(prompt)]
    # One prompt of each concept before a second of any.
    names = [concept.name for concept, _ in prompts]
    assert len(set(names[: len(set(names))])) == len(set(names))


def test_prompts_depend_on_seed_purpose_and_index_alone(dataset: Dataset) -> None:
    concept = retained_concepts(dataset)[0]
    assert concept.prompts(5, 0, "validation") == concept.prompts(9, 0, "validation")[:5]
    assert concept.prompts(5, 0, "validation") != concept.prompts(5, 1, "validation")
    validation, test, rehearsed = (
        {text for _, text in concept.prompts(5, 0, use)} for use in ("validation", "test", "rehearse")
    )
    assert not validation & test and not validation & rehearsed
