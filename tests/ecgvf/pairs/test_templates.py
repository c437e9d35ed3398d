"""Templates: the shipped ones ask for what the paper asks; a user's own mistakes are one line each."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from ecgvf.core.concepts import Concept, Kind, find, names
from ecgvf.core.errors import TemplateError
from ecgvf.core.records import Split
from ecgvf.pairs import checks
from ecgvf.pairs.parsing import Draft, parse
from ecgvf.pairs.templates import FILES, load

CONCEPTS = {"object": "church", "style": "van-gogh", "nudity": "nudity"}


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("split", FILES)
def test_the_shipped_templates_render(kind, split):
    concept = find(CONCEPTS[kind])
    template = load(kind, split)
    text = template.render(concept, count=7, iteration=2)
    assert template.name == f"{kind}/{'pairs' if split == 'train' else 'test'}@3"
    assert template.language == "en"
    assert "7" in text and "request 3" in text
    for term in concept.terms:
        assert term in text
    if split == "train":
        assert all(surrogate in text for surrogate in concept.surrogates)
    assert "---" not in text and "{{" not in text and "{%" not in text


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("split", FILES)
def test_the_answer_they_ask_for_is_the_one_that_is_read(kind, split):
    text = load(kind, split).render(find(CONCEPTS[kind]), count=1, iteration=0)
    assert [type(item) for item in parse(text, split)] == [Draft]


def example(kind: Kind, split: Split, concept: str) -> Draft:
    """The one that the shipped template shows when it asks for ``concept``."""
    [draft] = parse(load(kind, split).render(find(concept), count=7, iteration=0), split)
    assert isinstance(draft, Draft)
    return draft


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("split", FILES)
def test_the_example_they_show_is_a_good_answer_for_its_own_concept(kind, split):
    shown = example(kind, split, CONCEPTS[kind])
    own = Concept(name="own", kind=kind, terms=(shown.target_term,), surrogates=(shown.surrogate_term or "another",))
    assert own.term_in(shown.target) == shown.target_term
    assert checks.fault(own, shown, load(kind, split).language) is None
    assert (shown.surrogate is None) == (split == "test")


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("split", FILES)
@pytest.mark.parametrize("name", names())
def test_the_example_they_show_has_nothing_of_a_shipped_concept(kind, split, name):
    shown, concept = example(kind, split, CONCEPTS[kind]), find(name)
    for prompt in filter(None, (shown.target, shown.surrogate)):
        assert not [word for word in (*concept.terms, *concept.surrogates, *concept.neighbours) if word in prompt]


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("split", FILES)
def test_a_copy_of_the_example_is_told_and_its_form_with_the_right_concept_is_not(kind, split):
    shown = example(kind, split, CONCEPTS[kind])
    assert checks.copied(shown, [shown])
    assert checks.copied(replace(shown, target=shown.target.rstrip(".").upper() + " today"), [shown])
    term = find(CONCEPTS[kind]).terms[0]
    assert not checks.copied(replace(shown, target=shown.target.replace(shown.target_term, term)), [shown])
    assert not checks.copied(replace(shown, target=f"a {shown.target_term} in a cave at midnight"), [shown])


def write(folder: Path, text: str) -> Path:
    file = folder / "object" / "pairs.md.j2"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def rendered(folder: Path) -> str:
    return load("object", "train", folder).render(find("church"), count=10, iteration=0)


@pytest.mark.parametrize(
    ("body", "line", "said"),
    [
        ("one\n{{ concept.name }\n", 5, ""),
        ("one\ntwo\n{% if concept %}\n", 6, ""),
        ("one\n{{ nonsense }}\n", 5, "nonsense"),
        ("{{ concept.colour }}\n", 4, "colour"),
        ("one\n\n{{ 1 / 0 }}\n", 6, "division"),
        ("{% include 'other' %}\n", 4, ""),
        ("{{ ''.__class__.__mro__ }}\n", 4, "unsafe"),
        ("{% for i in range(10**9) %}{% endfor %}\n", 4, ""),
        ("{{ concept.terms.append('x') }}\n", 4, "append"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_line(tmp_path, body, line, said):
    file = write(tmp_path, f"---\nversion: 1\n---\n{body}")
    with pytest.raises(TemplateError) as raised:
        rendered(tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{file}, line {line}: ")
    assert said in message


@pytest.mark.parametrize("body", ["", " \n\t\n", "{# a note #}\n", "{% if false %}Write.{% endif %}"])
def test_a_template_that_asks_for_nothing_is_one_line_with_its_file(tmp_path, body):
    file = write(tmp_path, f"---\nversion: 1\n---\n{body}")
    with pytest.raises(TemplateError) as raised:
        rendered(tmp_path)
    assert str(raised.value).startswith(f"{file} asks for nothing: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no front matter", "front matter"),
        ("---\nauthor: me\n---\ntext", "version"),
        ("---\n- 1\n---\ntext", "version"),
        ("---\nversion: 1\na: [\n---\ntext", "not valid YAML"),
    ],
)
def test_front_matter_is_needed(tmp_path, text, said):
    write(tmp_path, text)
    with pytest.raises(TemplateError, match=said):
        rendered(tmp_path)


def test_a_missing_template_says_what_a_folder_holds(tmp_path):
    with pytest.raises(TemplateError, match=r"cannot read .*object/, style/, nudity/"):
        rendered(tmp_path)


def test_a_template_that_is_not_text(tmp_path):
    write(tmp_path, "x").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TemplateError, match="UTF-8"):
        rendered(tmp_path)


def test_the_hash_follows_the_text(tmp_path):
    write(tmp_path, "---\nversion: 1\n---\none")
    before = load("object", "train", tmp_path)
    write(tmp_path, "---\nversion: 1\n---\ntwo")
    assert load("object", "train", tmp_path).hash != before.hash
    assert before.render(find("church"), count=1, iteration=0) == "one\n"


def test_a_writer_is_reminded_of_what_it_gave_and_markup_in_it_is_text():
    template = load("object", "train")
    text = template.render(find("church"), count=10, iteration=1, kept=["a church {{ 7 * 7 }}", "an abbey"])
    assert "- a church {{ 7 * 7 }}\n- an abbey\n" in text
    assert "written these before" not in template.render(find("church"), count=10, iteration=0)


def test_the_language_is_two_letters_or_left_open(tmp_path):
    write(tmp_path, "---\nversion: 1\nlanguage: de\n---\ntext")
    assert load("object", "train", tmp_path).language == "de"
    write(tmp_path, "---\nversion: 1\n---\ntext")
    assert load("object", "train", tmp_path).language is None
    write(tmp_path, "---\nversion: 1\nlanguage: German\n---\ntext")
    with pytest.raises(TemplateError, match="two letters"):
        load("object", "train", tmp_path)
