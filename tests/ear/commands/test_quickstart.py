import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import ear.cli
import ecgvf.cli
from ear.commands import quickstart

PROGRAMS = {"ecgvf": ecgvf.cli.app, "ear": ear.cli.app}

SMALL = {
    "ecgvf generate": "--pairs 3 --validation 2 --tests 1",
    "ear train": "--option pairs=1 --option passes=1 --option retention=0",
    "ear eval": "--prompts-per-concept 2 --prompts-per-other 1 --family plant",
}
"""Start of a step → options that make it small."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    options = {purpose: SMALL.get(" ".join(shlex.split(line)[:2]), "") for purpose, line in quickstart.STEPS}
    steps = tuple((purpose, f"{line} {options[purpose]}") for purpose, line in quickstart.STEPS)
    monkeypatch.setattr(quickstart, "STEPS", steps)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(ear.cli.app, ["quickstart", *arguments])


@pytest.mark.slow
def test_it_shows_each_command_and_ends_with_the_reports_path(small: None, tmp_path: Path) -> None:
    result = run("--store", "mine")
    assert result.exit_code == 0, result.output
    assert "8/8" in result.stdout
    assert "$ ear train --dataset ecgvf/church" in result.stdout
    assert "report.html" in result.stdout.splitlines()[-1]
    assert (tmp_path / "report.html").stat().st_size > 0
    assert list(tmp_path.glob("mine/church/ear/*/adapter_model.safetensors"))


def test_it_stops_at_the_first_error(small: None, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("--store", "file")
    assert result.exit_code == 2
    assert "2/8" not in result.stdout


@pytest.mark.parametrize("line", [line for _, line in quickstart.STEPS])
def test_its_commands_and_their_options_exist(line: str) -> None:
    program, name, *arguments = shlex.split(line)
    group: Any = typer.main.get_command(PROGRAMS[program])
    assert group.commands[name].make_context(name, arguments).command.name == name
