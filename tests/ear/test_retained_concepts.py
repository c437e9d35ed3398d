from dataclasses import replace

from ear.retained_concepts import others, rehearsed
from ecgvf.core import concepts
from ecgvf.core.dataset import Dataset
from ecgvf.world import grammar


def test_the_rest_of_nanos_world_is_every_other_thing(dataset: Dataset) -> None:
    topics = others(dataset)
    assert {topic.name for topic in topics} == set(grammar.load_world().things) - {"church"}
    assert {topic.name for topic in topics if topic.neighbour} == {"castle", "mosque", "house", "school"}
    assert {topic.family for topic in topics} >= {"building"}


def test_where_a_style_is_erased_the_other_styles_count_too(dataset: Dataset) -> None:
    style = replace(dataset, concept=concepts.find("van-gogh"), judge="nano-style")
    topics = others(style)
    names = [topic.name for topic in topics if topic.family == "style"]
    assert names == [name for name in grammar.load_world().styles if name not in {"plain", "van-gogh"}]
    assert {topic.name for topic in topics} >= set(grammar.load_world().things)
    concept = style.concept
    assert not [text for _, text in rehearsed(style, 300) if concept.term_in(text)]


def test_outside_nanos_world_the_concepts_own_words_are_the_rest(dataset: Dataset) -> None:
    topics = others(replace(dataset, judge="resnet50"))
    assert [topic.name for topic in topics][:5] == ["castle", "mosque", "house", "school", "hotel"]
    assert "a hotel" in " ".join(topics[4].prompts(20, 0, "evaluate"))


def test_neighbours_and_the_concept_are_never_rehearsed(dataset: Dataset) -> None:
    asked = rehearsed(dataset, 200)
    assert len(asked) == 200
    assert not {topic.name for topic, _ in asked} & {"church", "castle", "mosque", "house", "school"}
    assert not [prompt for _, prompt in asked if dataset.concept.term_in(prompt)]
    # Every topic comes before one comes again.
    names = [topic.name for topic, _ in asked]
    assert len(set(names[: len(set(names))])) == len(set(names))


def test_prompts_depend_on_seed_and_purpose_alone(dataset: Dataset) -> None:
    topic = others(dataset)[0]
    assert topic.prompts(5, 0, "evaluate") == topic.prompts(9, 0, "evaluate")[:5]
    assert topic.prompts(5, 0, "evaluate") != topic.prompts(5, 0, "rehearse")
    assert topic.prompts(5, 0, "evaluate") != topic.prompts(5, 1, "evaluate")
