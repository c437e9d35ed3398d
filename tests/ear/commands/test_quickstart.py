import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import ear.cli
import ecgvf.cli
from ear.commands import quickstart
from ear.evaluation import judges as evaluation_judges
from ecgvf.filter import stage as filter_stage
from tests.ear.conftest import AgreeingJudge, brightness_judge

PROGRAMS = {"ecgvf": ecgvf.cli.app, "ear": ear.cli.app}

SMALL = {
    "ecgvf generate": "--pairs 3 --validation 2 --tests 1",
    "ear train": "--option pairs=1 --option passes=1 --option retention=0",
    "ear eval": "--prompts-per-concept 2 --prompts-per-other 1 --family plant",
}
"""Start of a step → options that make it small."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_path: Path) -> None:
    """The steps in a small form, by a tiny model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: AgreeingJudge([True, False] * 6))
    monkeypatch.setattr(evaluation_judges, "create_judge", brightness_judge)
    small = {**SMALL, "ecgvf render": f"--model {tiny_path}"}
    options = {purpose: small.get(" ".join(shlex.split(line)[:2]), "") for purpose, line in quickstart.STEPS}
    steps = tuple((purpose, f"{line} {options[purpose]}") for purpose, line in quickstart.STEPS)
    monkeypatch.setattr(quickstart, "STEPS", steps)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(ear.cli.app, ["quickstart", *arguments])


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
