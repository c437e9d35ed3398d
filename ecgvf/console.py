"""The one console: how commands speak.

Results go to standard output. With ``--json`` standard output is one object, and everything else (progress, notes,
errors) goes to standard error: ``say`` does so once ``quiet_stdout`` has been called, ``progress`` always.

Text that a model or a user wrote is escaped (``plain``) before rich reads it, or ``[red]`` would be a colour.
"""

import errno
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from typer.core import TyperGroup

from ecgvf.errors import EcgvfError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_ANY_WIDTH = 10_000

_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def plain(text: str) -> str:
    """Foreign text as it may be printed: no markup, and a sign in place of what would move or colour the terminal,
    or cannot be seen."""
    return escape(_UNSEEN.sub("\ufffd", text))


class Interrupted(KeyboardInterrupt):
    """Ctrl-C where the same command again would not go on; the message says what would."""


_json_only = False


def quiet_stdout(on: bool = True) -> None:
    """Keep standard output for one JSON object (``--json``): everything said goes to standard error."""
    global _json_only
    _json_only = on


def say(message: RenderableType) -> None:
    """Tell the user something; rich markup is read, so pass foreign text through ``plain``."""
    console = err if _json_only else out
    if isinstance(message, Table) and not console.is_terminal and "COLUMNS" not in os.environ:
        # A file or a pipe has no edge at which to fold.
        message.width = console.measure(message, options=console.options.update(max_width=_ANY_WIDTH)).maximum
    console.print(message)


def table(*columns: str, title: str | None = None, show_lines: bool = False) -> Table:
    """A table that folds what is too long for its column, where rich's own would cut it."""
    made = Table(title=title, show_lines=show_lines)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def note(message: str) -> None:
    """A remark in passing, dimmed, on standard error."""
    err.print(f"[dim]{message}[/dim]")


def warn(message: str) -> None:
    """Something that the user should know and that stops nothing, on standard error. ``message`` is taken literally."""
    err.print(f"[yellow]warning[/yellow] {plain(' '.join(message.split()))}")


def fail(message: str) -> None:
    """The one line of an error, on standard error. ``message`` is taken literally."""
    err.print(f"[bold red]error[/bold red] {plain(' '.join(message.split()))}")


def emit(result: Mapping[str, object]) -> None:
    """The one JSON object of ``--json``, on standard output."""
    sys.stdout.write(json.dumps(result, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


class Bar:
    """One running progress bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1) -> None:
        """``steps`` more are done."""
        self._progress.advance(self._task, steps)


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Bar]:
    """A progress bar over ``total`` steps of ``what``, of which ``done`` were done before (a resumed run)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=not err.is_terminal, disable=not err.is_terminal) as bars:
        yield Bar(bars, bars.add_task(plain(what), total=total, completed=done))


class Commands(TyperGroup):
    """Commands that end as promised: an ``EcgvfError`` is one line and exit 2, Ctrl-C a hint and exit 130."""

    def invoke(self, ctx: Any) -> Any:
        # The client of the Hub logs each of its retries; what it gives up on becomes our one line.
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
        try:
            return super().invoke(ctx)
        except EcgvfError as error:
            fail(str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            hint = str(error) if isinstance(error, Interrupted) else "Run the same command again to go on."
            err.print(f"\nInterrupted. {hint}")
            raise typer.Exit(130) from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            fail("no space left on the disk: free some, and run the same command again; it goes on from here")
            raise typer.Exit(2) from error
