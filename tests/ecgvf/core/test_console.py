"""How commands end: with one line and an exit code."""

import errno
import io
import json
import sys
from pathlib import Path
from typing import Literal

import pytest
import typer
from typer.testing import CliRunner

from ecgvf.core import console
from ecgvf.core.errors import EcgvfError, SettingsError


def ending(error: BaseException) -> typer.Typer:
    app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)

    @app.command()
    def work() -> None:
        raise error

    @app.command()
    def other() -> None: ...

    return app


@pytest.mark.faults
@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (EcgvfError("what, where\nand what to do"), 2, "error what, where and what to do\n"),
        (SettingsError("[bold]literal[/bold]"), 2, "error [bold]literal[/bold]\n"),
        (KeyboardInterrupt(), 130, "Interrupted. Run the same command again to resume."),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "no space left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/a"), 2, "no space left"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), 2, "error cannot use /a (Permission denied): name"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "a" * 300),
            2,
            f"error cannot use {'a' * 100}…{'a' * 100} (",
        ),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(error: BaseException, code: int, says: str) -> None:
    result = CliRunner().invoke(ending(error), ["work"])
    assert result.exit_code == code
    assert says in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("fault", [ZeroDivisionError(), FileNotFoundError(errno.ENOENT, "No such file", "/a")])
def test_a_fault_of_the_program_keeps_its_traceback(fault: Exception) -> None:
    assert CliRunner().invoke(ending(fault), ["work"]).exception is fault


def test_a_silenced_process_prints_its_errors_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (console.out, console.err):
        monkeypatch.setattr(stream, "quiet", False)
    app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)

    @app.command()
    def work() -> None:
        console.silence()
        console.print("result")
        console.warn("warning")
        raise EcgvfError("what, where and what to do")

    @app.command()
    def other() -> None: ...

    result = CliRunner().invoke(app, ["work"])
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "error what, where and what to do\n")


def test_json_fits_a_standard_output_of_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    console.print_json({"prompt": "eine Straße 🏰"})
    assert json.loads(written.getvalue()) == {"prompt": "eine Straße 🏰"}


def test_a_note_is_literal(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("no [/tmp/x], [red]nothing[/red]")
    assert capsys.readouterr().err == "no [/tmp/x], [red]nothing[/red]\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["wrok"], "No such command 'wrok'. Did you mean 'work'? See `root --help`"),
        (
            ["work", "--many", "x"],
            "Invalid value for '--many': ",
        ),
        (["work", "--split", "x"], "Invalid value for '--split': 'x' is not one of 'train', 'test'. See `root work --"),
        (["work", "--man"], "No such option"),
        (["work", "--many"], "Option '--many' requires an argument"),
        (["--wrok"], "No such option"),
    ],
)
def test_wrong_arguments_end_in_a_line(words: list[str], says: str) -> None:
    app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)

    @app.command()
    def work(many: int = 1, split: Literal["train", "test"] = "train") -> None: ...

    @app.command()
    def rest() -> None: ...

    result = CliRunner().invoke(app, words, prog_name="root")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error {says}") and result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["--out=~/x.png", "~/y"], ["--out", "~/x.png", "~/y"]])
def test_a_tilde_is_the_users_folder(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    @app.command()
    def work(file: Path, out: Path = Path(), text: str = "") -> None:
        typer.echo(f"{out} {file} {text}")

    @app.command()
    def rest() -> None: ...

    result = CliRunner().invoke(app, ["work", *words, "--text=a ~"])
    assert result.stdout == f"{tmp_path}/x.png {tmp_path}/y a ~\n"


def test_a_group_without_a_command_prints_its_help() -> None:
    app = typer.Typer(cls=console.CommandGroup, no_args_is_help=True, pretty_exceptions_enable=False)

    @app.command()
    def work() -> None: ...

    @app.command()
    def rest() -> None: ...

    result = CliRunner().invoke(app, [])
    assert "rest" in result.output and "error" not in result.output
