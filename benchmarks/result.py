"""How every benchmark ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from ecgvf.core import console
from ecgvf.core.files import pretty_json, write_atomic


def program(run: Callable[..., None]) -> typer.Typer:
    """The command ``run``; a user's error ends it in one line."""
    app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False, add_completion=False)
    app.callback(invoke_without_command=True, subcommand_metavar="")(run)  # only a group ends in one line
    return app


def finish(result: dict[str, Any], out: Path | None = None, *, also_in_file: dict[str, Any] | None = None) -> None:
    """Print ``result`` as the last line, in JSON, and write it to ``out``, with ``also_in_file`` if there is more.

    ``result["met"]`` says whether the goals are met, None that there is none. Raises ``typer.Exit(1)`` if it is False.
    """
    if out is not None:
        write_atomic(out, pretty_json({**result, **(also_in_file or {})}))
    print(json.dumps(result))
    if result["met"] is False:
        raise typer.Exit(1)
