import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import ear.cli
from ecgvf.cli import app

runner = CliRunner()


def test_concepts_are_listed() -> None:
    for arguments in (["concepts"], ["concepts", "list"]):
        result = runner.invoke(app, arguments)
        assert result.exit_code == 0
        assert all(name in result.stdout for name in ("church", "castle", "cat", "van-gogh", "nudity"))


def test_json_is_one_object_on_standard_output() -> None:
    result = runner.invoke(app, ["concepts", "list", "--json"])
    assert {concept["name"] for concept in json.loads(result.stdout)["concepts"]} >= {"church"}
    assert json.loads(runner.invoke(app, ["concepts", "explain", "church", "--json"]).stdout)["window"] == 48


def test_a_concept_is_explained() -> None:
    result = runner.invoke(app, ["concepts", "explain", "church"])
    assert result.exit_code == 0
    assert "basilica" in result.stdout and "never rehearsed" in " ".join(result.stdout.split())


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


@pytest.mark.parametrize("name", ["moose", "../../etc/passwd", "[red]x[/red]", "nope.yaml"])
def test_an_unknown_concept_is_one_line_and_exit_2(name: str) -> None:
    result = runner.invoke(app, ["concepts", "explain", name])
    assert result.exit_code == 2
    assert result.stderr.startswith("error ") and result.stderr.count("\n") == 1
    assert name in result.stderr


def commands(command: Any, *words: str) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """A command and its words, and those of all commands below it."""
    yield command, words
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, *words, name)


@pytest.mark.parametrize("program", [app, ear.cli.app])
def test_help_shows_the_whole_text_of_every_option(program: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Rich takes [brackets] in a help text for markup: it drops them, or fails.
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 1000)
    for command, words in commands(typer.main.get_command(program)):
        result = runner.invoke(program, [*words, "--help"])
        assert result.exit_code == 0, words
        for parameter in command.params:
            assert parameter.help and parameter.help in result.stdout, (words, parameter.name)


def test_help_comes_without_heavy_libraries() -> None:
    code = (
        "import sys; import ecgvf.cli; "
        "print([m for m in ('torch', 'transformers', 'datasets', 'pyarrow', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
