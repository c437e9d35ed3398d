"""``ecgvf``: its commands, in the order of the stages."""

from typing import Annotated

import typer

import ecgvf
from ecgvf.commands import (
    build,
    concepts,
    export,
    filter,
    import_pairs,
    judge,
    pairs,
    push,
    render,
    review,
    status,
    versions,
)
from ecgvf.core import console

app = typer.Typer(
    cls=console.CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Build a benchmark for concept erasure: concept → pairs → images → verdicts → dataset.",
)
app.add_typer(concepts.app, name="concepts", invoke_without_command=True)
for commands in (pairs, import_pairs, render, filter, build, judge, review, status, export, push, versions):
    app.add_typer(commands.app)


def main() -> None:
    """Entry point of the ``ecgvf`` script."""
    app()


def _version(on: bool) -> None:
    if on:
        console.print(f"ecgvf {ecgvf.__version__}")
        raise typer.Exit


@app.callback()
def _ecgvf(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Build a benchmark for concept erasure: concept → pairs → images → verdicts → dataset."""
