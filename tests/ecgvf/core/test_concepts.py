from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core import concepts
from ecgvf.core.concepts import Concept, find, may_be_unsafe, names_any, read, template, unsafe_mark
from ecgvf.core.errors import ConceptError


def test_church_has_neighbours_that_are_never_rehearsed_and_labels_for_both_families_of_judge() -> None:
    church = find("church")
    assert {"castle", "mosque"} <= set(church.neighbours)
    assert not set(church.neighbours) & set(church.surrogates)
    assert church.labels("imagenet") == ("church",)
    assert church.labels("nano") == ("church",)
    assert church.window == 48
    assert not church.unsafe


def test_nudity_is_unsafe_and_nano_has_no_label_for_it() -> None:
    nudity = find("nudity")
    assert nudity.unsafe
    assert nudity.labels("nano") == ()
    assert len(nudity.labels("nudenet")) == 9
    assert [unsafe_mark(name) for name in ("nudity", "Nudity", "Van Gogh", "moose", "")] == [
        True,
        True,
        False,
        None,
        None,
    ]


def test_a_concept_may_be_unsafe_if_it_was_or_is_marked_so_and_if_nobody_knows_it() -> None:
    assert not may_be_unsafe("church") and not may_be_unsafe("moose", False)
    assert may_be_unsafe("church", True) and may_be_unsafe("Nudity", False) and may_be_unsafe("moose", None)


def test_a_neighbour_is_no_surrogate_in_another_spelling() -> None:
    church = find("church").model_dump() | {"surrogates": ["town hall"], "neighbours": ["Town-Hall"]}
    with pytest.raises(ValueError, match="'town hall' names a neighbour"):
        Concept.model_validate(church)


@pytest.mark.parametrize("kind", ["object", "style", "nudity"])
def test_a_new_concepts_template_can_be_read_as_it_is(tmp_path: Path, kind: concepts.Kind) -> None:
    file = tmp_path / "light-house.yaml"
    file.write_text(template("light-house", kind), encoding="utf-8")
    concept = find(str(file))
    assert (concept.name, concept.kind, concept.terms) == ("light-house", kind, ("light house",))


@pytest.mark.parametrize("name", ["no", "null", "123", "2024-01-01", "tower", "building", "photograph", "dressed"])
@pytest.mark.parametrize("kind", ["object", "style", "nudity"])
def test_any_word_can_be_a_concept(tmp_path: Path, name: str, kind: concepts.Kind) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(template(name, kind), encoding="utf-8")
    assert find(str(file)).name == name


@pytest.mark.parametrize("value", ["2024-13-45", "!!int abc", "!!float xx", "!!timestamp xx", "[" * 5000])
def test_yaml_that_its_reader_stumbles_over_is_one_line(tmp_path: Path, value: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"name: mine\ndescription: {value}\n", encoding="utf-8")
    with pytest.raises(ConceptError, match="correct it"):
        find(str(file))


@pytest.mark.parametrize("name", ["", "Church", "a_b", "a--b", "-a", "../etc", "a/b", "a.b", "x" * 65])
def test_a_name_that_would_not_be_a_safe_folder_is_refused(name: str) -> None:
    with pytest.raises(ConceptError, match="lower-case"):
        template(name, "object")
    with pytest.raises(ConceptError):
        find(name)


def test_an_unknown_concept_says_what_lists_the_known_ones_and_what_to_do() -> None:
    with pytest.raises(ConceptError, match=r"unknown concept 'chruch' \(did you mean church\?\): `ecgvf concepts list"):
        find("chruch")
    with pytest.raises(ConceptError, match=r"unknown concept 'moose'.*ecgvf concepts list.*ecgvf concepts new"):
        find("moose")


GOOD = {"name": "moose", "kind": "object", "terms": ["moose"], "surrogates": ["horse"]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "animal"}, "kind: it must be 'object', 'style' or 'nudity'"),
        ({"terms": []}, "terms: it must not be empty"),
        ({"terms": "moose"}, "terms: it must be a list"),
        ({"terms": ["moose", 5]}, r"terms, entry 2: it must be text \(in quotes if"),
        ({"terms": ["", "moose"]}, "terms, entry 1: it must not be empty"),
        ({"name": "../moose"}, "name: use lower-case letters, digits and single hyphens"),
        ({"window": 0}, "window: it must be at least 1"),
        ({"window": "wide"}, "window: it must be a whole number"),
        ({"unsafe": "perhaps"}, "unsafe: it must be true or false"),
        ({"judge_labels": {"nano": ["moose", 5]}}, "judge_labels.nano, entry 2: it must be text"),
        ({"judge_labels": ["moose"]}, "judge_labels: it must be a mapping"),
        ({"colour": "brown"}, "colour: unknown field"),
        ({"terms": [], "neighbors": []}, r"neighbors: unknown field \(did you mean neighbours\?\)"),
        ({"surrogates": ["young moose"]}, "names the concept"),
        ({"neighbours": ["mooses"]}, "names the concept"),
        ({"neighbours": ["Horse"]}, "names a neighbour"),
        ({"surrogates": ["town house"], "neighbours": ["house"]}, "names a neighbour"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path: Path, change: dict[str, object], says: str) -> None:
    file = tmp_path / "moose.yaml"
    file.write_text(yaml.safe_dump(GOOD | change), encoding="utf-8")
    with pytest.raises(ConceptError, match=says) as caught:
        read(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", [b"terms: [a", b"\xff\xfe", b"- a\n- b\n", b""])
def test_a_file_that_is_no_concept_gets_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "moose.yaml"
    file.write_bytes(content)
    with pytest.raises(ConceptError, match=str(file)) as caught:
        find(str(file))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ConceptError, match="No such file"):
        find(str(tmp_path / "moose.yaml"))


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("A church at dawn", "church"),
        ("two CHURCHES by a lake", "church"),
        ("a chapel", "chapel"),
        ("Winston Churchill by a lake", None),
        ("a \uff43\uff28\uff35\uff32\uff23\uff28", "church"),
        ("a hotel", None),
        ("", None),
    ],
)
def test_a_term_is_found_as_a_whole_word_in_any_case_and_number(text: str, term: str | None) -> None:
    assert find("church").term_in(text) == term


@pytest.mark.parametrize(
    ("word", "plurals", "others"),
    [
        ("knife", ("knives",), ("knit",)),
        ("wolf", ("wolves",), ()),
        ("scarf", ("scarves", "scarfs"), ()),
        ("leaf", ("leaves",), ()),
        ("thief", ("thieves",), ()),
        ("hoof", ("hooves", "hoofs"), ()),
        ("roof", ("roofs",), ()),
        ("chief", ("chiefs",), ()),
        ("cliff", ("cliffs",), ()),
        ("cafe", ("cafes",), ("caves",)),
        ("safe", ("safes",), ("saves",)),
        ("chef", ("chefs",), ("cheves",)),
        ("reef", ("reefs",), ("reeves",)),
        ("relief", ("reliefs",), ("relieves",)),
        ("motif", ("motifs",), ("motives",)),
    ],
)
def test_plurals_of_words_in_f(word: str, plurals: tuple[str, ...], others: tuple[str, ...]) -> None:
    assert all(names_any([word], f"two {each} by a lake") for each in (word, *plurals))
    assert not any(names_any([word], f"two {each} by a lake") for each in others)


def test_a_term_is_found_however_its_accents_are_written() -> None:
    abbey = Concept(name="abbaye", kind="object", terms=("e\u0301glise",), surrogates=("hotel",))
    assert abbey.term_in("une \u00c9glise") is not None


def test_a_term_of_several_words_is_found_across_hyphens() -> None:
    assert find("van-gogh").term_in("a cat, in van-gogh style") == "van Gogh style"


@given(st.text())
def test_looking_for_a_term_never_fails(text: str) -> None:
    find_church = Concept(name="church", kind="object", terms=("church", "c++ (x)"), surrogates=("hotel",))
    find_church.term_in(text)
    assert find_church.term_in(f"{text} church {text}") is not None
