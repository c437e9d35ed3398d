"""The shipped templates ask for what the paper asks; an error in a user's template is one line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core.concepts import Concept, Kind, find, names
from ecgvf.core.errors import TemplateError
from ecgvf.core.records import WORDINGS, Split
from ecgvf.pairs import checks
from ecgvf.pairs.parsing import Draft, parse
from ecgvf.pairs.templates import FILES, load

CONCEPTS = {"object": "church", "style": "van-gogh", "nudity": "nudity"}


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("split", FILES)
def test_shipped_templates_render(kind, split):
    concept = find(CONCEPTS[kind])
    template = load(kind, split)
    text = template.render(concept, count=7, iteration=2, retained=["castle", "golden retriever"])
    if split == "retain":
        assert template.name == f"{kind}/retain@1"
        assert "- castle\n- golden retriever\n\nRules" in text
        assert all(term in text for term in concept.terms) and "{{" not in text and "{%" not in text
        return
    version = 5 if (kind, split) == ("object", "train") else 6
    assert template.name == f"{kind}/{'pairs' if split == 'train' else 'evaluation'}@{version}"
    assert template.language == "en"
    assert "7" in text and "request 3" in text
    for term in concept.terms:
        assert term in text
    same = 'replaced by "' if kind == "style" else "always by the same ("
    assert f"{same}{concept.surrogates[0]}" in text
    assert f"by one of these{', which are kept for measuring' * (split == 'train')}: {concept.neighbours[0]}" in text
    free = template.render(concept, count=7, iteration=2, surrogate_choice="free")
    assert all(surrogate in free for surrogate in concept.surrogates)
    assert " → " in template.render(concept, count=7, iteration=2, surrogate_choice="per-term")
    if split != "train":
        assert f"You write {split} data" in text and all(wording in text for wording in WORDINGS)
    assert "---" not in text and "{{" not in text and "{%" not in text


def test_a_template_is_compiled_once_for_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    template = load("object", "train")
    template.render(find("church"), count=7, iteration=0)
    monkeypatch.setattr(ImmutableSandboxedEnvironment, "from_string", None)
    assert "request 2" in template.render(find("church"), count=7, iteration=1)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_training_is_told_which_terms_it_may_use(kind):
    concept = find(CONCEPTS[kind])
    text = load(kind, "train").render(concept, count=7, iteration=0)
    assert f"which you may use: {', '.join(concept.training_terms)}\n" in text
    assert f"Never use these, which are kept for measuring: {', '.join(concept.unseen_terms)}\n" in text
    assert not set(concept.training_terms) & set(concept.unseen_terms)
    free = concept.model_copy(update={"unseen_terms": ()})
    assert "Never use these" not in load(kind, "train").render(free, count=7, iteration=0)


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("split", FILES)
def test_requested_format_is_the_one_that_is_parsed(kind, split):
    text = load(kind, split).render(find(CONCEPTS[kind]), count=1, iteration=0)
    assert [draft.parsed for draft in parse(text, split)] == [True]


def example(kind: Kind, split: Split, concept: str) -> Draft:
    """The example in the shipped template's request for ``concept``."""
    [draft] = parse(load(kind, split).render(find(concept), count=7, iteration=0), split)
    assert draft.parsed
    return draft


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("split", FILES)
def test_example_is_a_good_answer_for_its_own_concept(kind, split):
    draft = example(kind, split, CONCEPTS[kind])
    if split == "retain":
        assert (draft.retained_concept, draft.surrogate, draft.wording) == ("violin", None, None)
        return
    own = Concept(name="own", kind=kind, terms=(draft.target_term,), surrogates=(draft.surrogate_term or "another",))
    assert own.term_in(draft.target) == draft.target_term
    assert checks.find_fault(own, draft, load(kind, split).language, split=split) is None
    assert draft.surrogate is not None
    assert draft.wording == (None if split == "train" else "explicit")


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("split", FILES)
@pytest.mark.parametrize("name", names())
def test_example_names_nothing_of_a_shipped_concept(kind, split, name):
    draft, concept = example(kind, split, CONCEPTS[kind]), find(name)
    for prompt in filter(None, (draft.target, draft.surrogate)):
        assert not [word for word in (*concept.terms, *concept.surrogates, *concept.neighbours) if word in prompt]


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("split", FILES)
def test_copy_of_the_example_is_recognised_but_not_its_form_with_the_right_concept(kind, split):
    draft = example(kind, split, CONCEPTS[kind])
    assert checks.is_copied(draft, [draft])
    assert checks.is_copied(replace(draft, target=draft.target.rstrip(".").upper() + " today"), [draft])
    term = find(CONCEPTS[kind]).terms[0]
    assert not checks.is_copied(replace(draft, target=draft.target.replace(draft.target_term, term)), [draft])
    assert not checks.is_copied(replace(draft, target=f"a {draft.target_term} in a cave at midnight"), [draft])


def write(folder: Path, text: str) -> Path:
    file = folder / "object" / "pairs.md.j2"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def rendered(folder: Path) -> str:
    return load("object", "train", folder).render(find("church"), count=10, iteration=0)


@pytest.mark.parametrize(
    ("body", "line", "message"),
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
def test_error_names_file_and_line(tmp_path, body, line, message):
    file = write(tmp_path, f"---\nversion: 1\n---\n{body}")
    with pytest.raises(TemplateError) as raised:
        rendered(tmp_path)
    assert str(raised.value).startswith(f"{file}, line {line}: ")
    assert message in str(raised.value)


@pytest.mark.parametrize("body", ["", " \n\t\n", "{# a note #}\n", "{% if false %}Write.{% endif %}"])
def test_empty_request_is_an_error_that_names_the_file(tmp_path, body):
    file = write(tmp_path, f"---\nversion: 1\n---\n{body}")
    with pytest.raises(TemplateError) as raised:
        rendered(tmp_path)
    assert str(raised.value).startswith(f"{file} renders to an empty request: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no front matter", "front matter"),
        ("---\nauthor: me\n---\ntext", "version"),
        ("---\n- 1\n---\ntext", "version"),
        ("---\nversion: 1\na: [\n---\ntext", "not valid YAML"),
        ("---\nversion: 2026-13-45\n---\ntext", "not valid YAML"),
    ],
)
def test_invalid_front_matter_is_an_error(tmp_path, text, message):
    write(tmp_path, text)
    with pytest.raises(TemplateError, match=message):
        rendered(tmp_path)


def test_missing_template_lists_the_expected_files(tmp_path):
    with pytest.raises(TemplateError, match=r"nudity/, each with pairs\.md\.j2, evaluation\.md\.j2, retain\.md"):
        rendered(tmp_path)


def test_template_that_is_not_text_is_an_error(tmp_path):
    write(tmp_path, "x").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TemplateError, match="UTF-8"):
        rendered(tmp_path)


def test_hash_changes_with_the_text(tmp_path):
    write(tmp_path, "---\nversion: 1\n---\none")
    before = load("object", "train", tmp_path)
    write(tmp_path, "---\nversion: 1\n---\ntwo")
    assert load("object", "train", tmp_path).hash != before.hash
    assert before.render(find("church"), count=1, iteration=0) == "one\n"


def test_earlier_prompts_are_listed_verbatim():
    template = load("object", "train")
    text = template.render(find("church"), count=10, iteration=1, kept=["a church {{ 7 * 7 }}", "an abbey"])
    assert "- a church {{ 7 * 7 }}\n- an abbey\n" in text
    assert "written these before" not in template.render(find("church"), count=10, iteration=0)


def test_language_is_two_letters_or_none(tmp_path):
    write(tmp_path, "---\nversion: 1\nlanguage: de\n---\ntext")
    assert load("object", "train", tmp_path).language == "de"
    write(tmp_path, "---\nversion: 1\n---\ntext")
    assert load("object", "train", tmp_path).language is None
    write(tmp_path, "---\nversion: 1\nlanguage: German\n---\ntext")
    with pytest.raises(TemplateError, match="two letters"):
        load("object", "train", tmp_path)


@pytest.mark.parametrize("arguments", ["templates --json show church", "templates show church --json"])
def test_templates_are_shown_in_json(arguments):
    shown = json.loads(CliRunner().invoke(app, arguments.split()).stdout)
    assert shown["concept"] == "church" and len(shown["templates"]) == 3
