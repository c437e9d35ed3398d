"""The console of every command: results on standard output; progress, notes and errors on standard error.

With ``--json``, standard output is one JSON object: after ``json_mode()``, ``print`` writes to standard error as well.
Text that a model or a user wrote goes through ``escape`` before rich reads it: otherwise ``[red]`` would be a colour.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich import markup
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from typer.core import TyperGroup

from ecgvf.core.errors import EcgvfError
from ecgvf.core.files import disk_fault, expanded

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
_errors = Console(stderr=True, highlight=False, soft_wrap=True)
"""Never silenced."""

_ANY_WIDTH = 10_000

_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def escape(text: str) -> str:
    """Untrusted text as it may be printed: markup escaped, control and invisible characters replaced by U+FFFD."""
    return markup.escape(_INVISIBLE.sub("\ufffd", text))


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things: "1 cell", "2 cells". ``plural`` None: the noun with an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a command that does not resume when it is run again; the message says which command does."""


_json_only = False


def json_mode(on: bool = True) -> None:
    """Reserve standard output for one JSON object (``--json``): ``print`` writes to standard error."""
    global _json_only
    _json_only = on


def silence() -> None:
    """Print nothing but errors from now on, for all but the first of several processes that do one job."""
    out.quiet = err.quiet = True


def print(*messages: RenderableType) -> None:
    """Print lines and tables. Rich markup is interpreted: pass untrusted text through ``escape``."""
    console = err if _json_only else out
    for message in messages:
        if isinstance(message, Table) and width() == _ANY_WIDTH:
            message.width = console.measure(message, options=console.options.update(max_width=_ANY_WIDTH)).maximum
        console.print(message)


def width() -> int:
    """Columns of standard output: a file or a pipe has no width to fold at, unless ``COLUMNS`` sets one."""
    console = err if _json_only else out
    return console.width if console.is_terminal or "COLUMNS" in os.environ else _ANY_WIDTH


def table(*columns: str, title: str | None = None, show_lines: bool = False) -> Table:
    """A table that folds long cells instead of cutting them, as rich does by default."""
    folding = Table(title=title, show_lines=show_lines)
    for column in columns:
        folding.add_column(column, overflow="fold")
    return folding


def note(message: str) -> None:
    """Print a remark, dimmed, on standard error; ``message`` is taken literally."""
    err.print(f"[dim]{escape(message)}[/dim]")


def warn(message: str) -> None:
    """Print a warning on standard error; ``message`` is taken literally."""
    err.print(f"[yellow]warning[/yellow] {escape(' '.join(message.split()))}")


def error(message: str) -> None:
    """Print the one line of an error on standard error; ``message`` is taken literally."""
    _errors.print(f"[bold red]error[/bold red] {escape(' '.join(message.split()))}")


def print_result(facts: Mapping[str, object], *lines: RenderableType) -> None:
    """Print the result of a command: after ``json_mode()`` the object of ``facts``, else ``lines``."""
    if _json_only:
        print_json(facts)
    else:
        print(*lines)


def print_json(result: Mapping[str, object]) -> None:
    """Print the JSON object of ``--json`` on standard output, in ASCII, which every encoding has."""
    if out.quiet:
        return
    sys.stdout.write(json.dumps(result, allow_nan=False) + "\n")
    sys.stdout.flush()


class Bar:
    """A running progress bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1) -> None:
        """Move the bar on by ``steps``."""
        self._progress.advance(self._task, steps)

    def update(self, done: int, description: str) -> None:
        """Move the bar to ``done`` steps, and describe it anew."""
        self._progress.update(self._task, completed=done, description=escape(description))


@contextmanager
def progress(description: str, total: int, done: int = 0) -> Iterator[Bar]:
    """A progress bar over ``total`` steps, of which ``done`` were done before (a resumed run)."""
    with progress_bars() as bar:
        yield bar(description, total, done)


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], Bar]]:
    """Several progress bars, one below the other: a function of the arguments of ``progress`` adds one."""
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=not err.is_terminal, disable=not err.is_terminal) as bars:
        yield lambda description, total, done: Bar(
            bars, bars.add_task(escape(description), total=total, completed=done)
        )


@contextmanager
def status(doing: str) -> Iterator[None]:
    """On a terminal, show what is ``doing`` until it is done, if it has no steps to count."""
    if not err.is_terminal:
        yield
        return
    with err.status(f"[dim]{escape(doing)}[/dim]"):
        yield


_UsageError: Any = typer.BadParameter.__base__
"""Typer gives it no public name."""


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Print what is wrong with the arguments in a line, where Typer prints a box."""
    try:
        yield
    except _UsageError as failure:
        fault = re.sub(r"Value error, |, unable to parse.*|\.$", "", failure.format_message())
        if not fault or "\n" in fault:  # a group without a command, whose help it is, or which was printed
            raise
        end = "" if fault.endswith("?") else "."
        error(fault if failure.ctx is None else f"{fault}{end} See `{failure.ctx.command_path} --help`")
        raise typer.Exit(failure.exit_code) from failure


def _without_tilde(word: str) -> str:
    """``word`` with a folder in place of ``~``, which a shell expands where a word begins, but not in ``--out=~/x``."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{expanded(value)}" if value.startswith("~") else word


class CommandGroup(TyperGroup):
    """Commands that end in one line: exit code 2 on a wrong option, an ``EcgvfError``, a full disk or a path that
    cannot be used, 130 on Ctrl-C. In each option ``~`` is the user's folder."""

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        with _usage_errors():
            return super().make_context(*arguments, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [_without_tilde(word) for word in args])

    def invoke(self, ctx: Any) -> Any:
        # The Hub's client logs each of its retries; when it gives up, that becomes one line.
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
        try:
            with _usage_errors():
                return super().invoke(ctx)
        except EcgvfError as failure:
            error(str(failure))
            raise typer.Exit(failure.exit_code) from failure
        except KeyboardInterrupt as interrupt:
            hint = str(interrupt) if isinstance(interrupt, Interrupted) else "Run the same command again to resume."
            err.print(f"\nInterrupted. {hint}")
            raise typer.Exit(130) from interrupt
        except OSError as failure:
            fault = disk_fault(failure)
            if fault is None:
                raise
            error(str(fault))
            raise typer.Exit(fault.exit_code) from failure
