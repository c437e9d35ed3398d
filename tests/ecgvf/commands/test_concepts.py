"""``ecgvf concepts`` as a user types it."""

import json
import os
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from ecgvf.cli import app

runner = CliRunner()


def test_concepts_are_listed() -> None:
    for arguments in (["concepts"], ["concepts", "list"]):
        result = runner.invoke(app, arguments)
        assert result.exit_code == 0
        assert all(name in result.stdout for name in ("church", "castle", "cat", "van-gogh", "nudity"))


def test_json_is_one_object_on_standard_output() -> None:
    for arguments in (["concepts", "--json"], ["concepts", "list", "--json"], ["concepts", "--json", "list"]):
        result = runner.invoke(app, arguments)
        assert {concept["name"] for concept in json.loads(result.stdout)["concepts"]} >= {"church"}
    assert json.loads(runner.invoke(app, ["concepts", "explain", "church", "--json"]).stdout)["window"] == 48


def test_a_concept_is_explained() -> None:
    result = runner.invoke(app, ["concepts", "explain", "church"])
    assert result.exit_code == 0
    assert "basilica" in result.stdout and "never rehearsed" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"imagent": ["church"]}, "unknown label set 'imagent' (did you mean imagenet?): use nano, imagenet, wikiart"),
        ({"nano": ["chruch"]}, "nano has no label 'chruch' (did you mean church?); it has church, castle, house"),
        ({"nudenet-2": ["FEET"]}, "nudenet-2 has no label 'FEET'"),
        ({"imagenet": ["chruch"]}, "imagenet has no label 'chruch' (did you mean crutch or church?): correct"),
        ({"nano": ["church"], "imagenet-2": ["Monastery"], "nudenet": [], "timm:x": ["y"], "wikiart": ["z"]}, None),
    ],
)
def test_labels_of_a_concept_file_that_no_judge_has_are_an_error(
    tmp_path: Path, labels: dict[str, list[str]], says: str | None
) -> None:
    file = tmp_path / "mine.yaml"
    content = {"name": "mine", "kind": "object", "terms": ["mine"], "surrogates": ["hotel"], "judge_labels": labels}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    result = runner.invoke(app, ["concepts", "explain", str(file)])
    assert (result.exit_code, result.stderr.count("\n")) == ((0, 0) if says is None else (2, 1))
    assert says is None or says in result.stderr


def test_a_new_concept_is_written_explained_and_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "lighthouse.yaml"
    arguments = ["concepts", "new", "lighthouse", "--kind", "object", "--to", str(file)]
    assert runner.invoke(app, arguments).exit_code == 0
    assert runner.invoke(app, ["concepts", "explain", str(file)]).exit_code == 0
    again = runner.invoke(app, arguments)
    assert again.exit_code == 2
    assert "exists: choose another file" in again.stderr


def test_a_new_concept_is_written_here_where_no_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert runner.invoke(app, ["concepts", "new", "lighthouse"]).exit_code == 0
    assert (tmp_path / "lighthouse.yaml").is_file()


def test_a_new_concept_in_json_and_in_place_of_one_that_ships(tmp_path: Path) -> None:
    file = str(tmp_path / "mine.yaml")
    result = runner.invoke(app, ["concepts", "new", "church", "--to", file, "--json"])
    assert json.loads(result.stdout) == {"concept": "church", "kind": "object", "file": file}
    assert f"warning a concept 'church' ships: --concept church is that one, --concept {file} is yours" in result.stderr
    assert runner.invoke(app, ["concepts", "new", "mine", "--to", f"{file}.yaml"]).stderr == ""


def test_an_interrupted_command_leaves_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    assert runner.invoke(app, ["concepts", "new", "lighthouse", "--to", str(tmp_path / "new.yaml")]).exit_code != 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["file/lighthouse.yaml", "x" * 300])
def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    result = runner.invoke(app, ["concepts", "new", "lighthouse", "--to", str(tmp_path / name)])
    assert result.exit_code == 2
    assert "cannot write" in result.stderr and "choose another file with --to" in result.stderr


@pytest.mark.parametrize("name", ["moose", "../../etc/passwd", "[red]x[/red]", "nope.yaml"])
def test_an_unknown_concept_is_one_line_and_exit_2(name: str) -> None:
    result = runner.invoke(app, ["concepts", "explain", name])
    assert result.exit_code == 2
    assert result.stderr.startswith("error ") and result.stderr.count("\n") == 1
    assert name in result.stderr
