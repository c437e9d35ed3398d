"""What holds for every command: its whole help is shown, and comes without heavy libraries."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import ear.cli
import ecgvf
from ecgvf.cli import app
from tools.nano.__main__ import app as nano

runner = CliRunner()
PROGRAMS = (app, ear.cli.app, nano)


def commands(command: Any, *words: str) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """A command and its words, and those of all commands below it."""
    yield command, words
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, *words, name)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_shows_the_whole_text_of_every_option(program: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Rich takes [brackets] in a help text for markup: it drops them, or fails.
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 1000)
    for command, words in commands(typer.main.get_command(program)):
        result = runner.invoke(program, [*words, "--help"])
        assert result.exit_code == 0, words
        for parameter in command.params:
            assert parameter.help and parameter.help in result.stdout, (words, parameter.name)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_whole_in_a_terminal_of_80_columns(program: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for _, words in commands(typer.main.get_command(program)):
        shown = runner.invoke(program, [*words, "--help"]).stdout
        assert [line for line in shown.splitlines() if "…" in line] == [], words


@pytest.mark.parametrize("program", ["ecgvf", "ear"])
def test_a_program_runs_as_a_module_and_says_its_version(program: str) -> None:
    command = [sys.executable, "-m", program, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{program} {ecgvf.__version__}\n"
