"""The fast reader's content, with the messages of the one in Python."""

import pytest
import yaml

from ecgvf.core import strict_yaml
from ecgvf.core.paths import data_dir


@pytest.mark.parametrize("name", ["writers.yaml", "retained_concepts.yaml", "nano/world.yaml", "concepts/church.yaml"])
def test_it_reads_what_pyyaml_reads(name: str) -> None:
    text = (data_dir() / name).read_text(encoding="utf-8")
    assert strict_yaml.load(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "problem", "place"),
    [
        ("a: 1\nb: c: d", "mapping values are not allowed here", (1, 4)),
        ("a: [1, 2", "expected ',' or ']', but got '<stream end>'", (0, 8)),
        ("a: 1\nb: *c", "found undefined alias 'c'", (1, 3)),
        ("a: 1\nb: {c: 1, c: 2}", "duplicate key", (1, 10)),
    ],
)
def test_a_fault_has_its_message_and_place(text: str, problem: str, place: tuple[int, int]) -> None:
    with pytest.raises(yaml.MarkedYAMLError) as caught:
        strict_yaml.load(text)
    mark = caught.value.problem_mark
    assert caught.value.problem == problem and mark is not None and (mark.line, mark.column) == place


@pytest.mark.parametrize("text", ["2026-13-45", "!!int abc", "a: \ud800", "[" * 5000])
def test_whatever_its_reader_stumbles_over_is_a_yaml_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        strict_yaml.load(text)


def test_the_last_of_two_keys_is_not_silently_taken() -> None:
    with pytest.raises(strict_yaml.DuplicateKey):
        strict_yaml.load("a: 1\na: 2\n")
    assert strict_yaml.load("b: &b {a: 1}\nc: {<<: *b, a: 2}\n") == {"b": {"a": 1}, "c": {"a": 2}}
