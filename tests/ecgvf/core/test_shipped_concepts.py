"""The shipped concepts have labels that their judges know; the shipped captions name their class and nothing else."""

from collections import Counter
from difflib import get_close_matches

import nudenet
import pytest
from torchvision.models import ResNet50_Weights

from ecgvf.core import concepts, strict_yaml
from ecgvf.core.concepts import Concept, find
from ecgvf.core.paths import data_dir
from ecgvf.world import grammar

IMAGENETTE = {
    "cassette-player",
    "chain-saw",
    "church",
    "english-springer",
    "french-horn",
    "garbage-truck",
    "gas-pump",
    "golf-ball",
    "parachute",
    "tench",
}
PAINTERS = {
    "albrecht-durer",
    "camille-pissarro",
    "claude-monet",
    "edgar-degas",
    "ivan-aivazovsky",
    "paul-cezanne",
    "paul-gauguin",
    "pierre-auguste-renoir",
    "rembrandt",
    "vincent-van-gogh",
}

CAPTIONS: dict[str, dict[str, list[str]]] = strict_yaml.load(
    (data_dir() / "retained_concepts.yaml").read_text(encoding="utf-8")
)
THINGS, STYLES = CAPTIONS["things"], CAPTIONS["styles"]

of_every_concept = pytest.mark.parametrize("name", concepts.names())
of_everything_retained = pytest.mark.parametrize(
    ("kind", "label"), [(kind, label) for kind, captions in CAPTIONS.items() for label in captions]
)


def all_labels(concept: Concept, label_set: str) -> set[str]:
    """The labels of a set and of its variants ("nudenet-strict"), accepted and near."""
    return {
        label
        for sets in (concept.judge_labels, concept.near_labels)
        for name, labels in sets.items()
        if name == label_set or name.startswith(f"{label_set}-")
        for label in labels
    }


def imagenet_classes() -> Counter[str]:
    """Class name, in lower case as judges compare them → how many classes have it."""
    return Counter(label.casefold() for label in ResNet50_Weights.DEFAULT.meta["categories"])


def test_the_ten_classes_of_imagenette_ten_painters_and_what_nano_renders_are_shipped() -> None:
    shipped = [find(name) for name in concepts.names()]
    assert {concept.name for concept in shipped if concept.kind == "object"} == IMAGENETTE | {"castle", "cat"}
    assert {label for concept in shipped for label in concept.labels("wikiart")} == PAINTERS
    assert {concept.name for concept in shipped if concept.kind == "style"} == (
        PAINTERS - {"vincent-van-gogh"} | {"van-gogh"}
    )
    assert [concept.name for concept in shipped if concept.kind == "nudity"] == ["nudity"]


@of_every_concept
def test_a_concept_is_valid_and_named_like_its_file(name: str) -> None:
    concept = find(name)
    assert concept.name == name
    assert concept.description
    assert concept.unsafe == (concept.kind == "nudity")


@of_every_concept
def test_an_unseen_term_is_one_of_the_terms_or_contains_none(name: str) -> None:
    concept = find(name)
    assert concept.unseen_terms
    assert [term for term in concept.unseen_terms if term not in concept.terms and concept.term_in(term)] == []


# Results were measured with van-gogh as it is.
@pytest.mark.parametrize("name", sorted({*concepts.names()} - {"van-gogh"}))
def test_a_description_and_a_misspelling_are_kept_for_evaluation(name: str) -> None:
    concept = find(name)
    others = [term for term in concept.unseen_terms if term not in concept.terms]
    misspelled = [term for term in others if get_close_matches(term, concept.terms, cutoff=0.8)]
    assert misspelled and len(misspelled) < len(others)


@of_every_concept
def test_a_concept_has_labels_for_the_judges_of_its_kind(name: str) -> None:
    concept = find(name)
    assert concept.labels({"object": "imagenet", "style": "wikiart", "nudity": "nudenet"}[concept.kind])


@of_every_concept
def test_imagenet_labels_name_exactly_one_class(name: str) -> None:
    labels, classes = all_labels(find(name), "imagenet"), imagenet_classes()
    assert labels <= set(ResNet50_Weights.DEFAULT.meta["categories"])
    assert [label for label in labels if classes[label.casefold()] != 1] == []


@of_every_concept
def test_nudenet_labels_are_those_of_the_package(name: str) -> None:
    assert all_labels(find(name), "nudenet") <= set(vars(nudenet.nudenet)["__labels"])


@of_every_concept
def test_nano_labels_are_in_its_world(name: str) -> None:
    concept, world = find(name), grammar.load_world()
    assert all_labels(concept, "nano") <= set(world.styles if concept.kind == "style" else world.things)


@of_every_concept
def test_wikiart_labels_are_painters_with_captions(name: str) -> None:
    assert all_labels(find(name), "wikiart") <= set(STYLES)


@of_every_concept
def test_what_is_near_a_concept_has_captions(name: str) -> None:
    concept = find(name)
    near = {*concept.neighbours, *concept.near_labels.get("imagenet", ())}  # some files name neighbours in nano's world
    assert len(near & set(STYLES if concept.kind == "style" else THINGS)) >= (2 if concept.kind == "style" else 3)
    assert not near & {*concept.labels("imagenet"), *concept.labels("wikiart")}


def test_things_are_sixty_classes_of_imagenet_and_styles_the_ten_painters() -> None:
    assert set(CAPTIONS) == {"things", "styles"}
    classes = imagenet_classes()
    assert len(THINGS) == 60
    assert set(THINGS) <= set(ResNet50_Weights.DEFAULT.meta["categories"])
    assert [thing for thing in THINGS if classes[thing.casefold()] != 1] == []
    assert set(STYLES) == PAINTERS


def test_all_captions_are_different() -> None:
    captions = [caption.casefold() for kind in CAPTIONS.values() for five in kind.values() for caption in five]
    assert len(captions) == len(set(captions)) == 350


@of_everything_retained
def test_each_has_five_short_captions(kind: str, label: str) -> None:
    captions = CAPTIONS[kind][label]
    assert len(captions) == 5
    for caption in captions:
        assert 3 <= len(caption.split()) <= 15
        assert caption[0].isupper() and caption.endswith(".") and caption == caption.strip()


@of_everything_retained
def test_captions_name_no_shipped_concept_but_their_own(kind: str, label: str) -> None:
    for concept in map(find, concepts.names()):
        own = label in (*concept.labels("imagenet"), *concept.labels("wikiart"))
        for caption in CAPTIONS[kind][label]:
            assert own or (concept.term_in(caption), concept.unseen_in(caption)) == (None, None), caption


@pytest.mark.parametrize("name", [name for name in concepts.names() if find(name).kind == "style"])
def test_captions_of_a_style_name_its_painter(name: str) -> None:
    concept = find(name)
    (label,) = concept.labels("wikiart")
    assert [caption for caption in STYLES[label] if concept.term_in(caption) is None] == []
