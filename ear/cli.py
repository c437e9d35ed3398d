"""The command line ``ear``.

quickstart, recipes, train, generate, eval, attack, memorisation, compare, ablate, suite, report, import-weights,
export, push-to-hub.
"""

import typer

from ear.commands import (
    ablate,
    attack,
    compare,
    evaluate,
    export,
    generate,
    import_weights,
    memorisation,
    push,
    quickstart,
    recipes,
    report,
    suite,
    train,
)
from ecgvf.core import console

app = typer.Typer(
    cls=console.CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Erase a concept from an autoregressive image model (EAR), and measure what that cost.",
)
for commands in (
    (quickstart, recipes, train, generate, evaluate, attack, memorisation, compare, ablate),
    (suite, report, import_weights, export, push),
):
    for command in commands:
        app.add_typer(command.app)


def main() -> None:
    """Entry point of the ``ear`` script."""
    app()


@app.callback()
def _ear() -> None:
    """Erase a concept from an autoregressive image model (EAR), and measure what that cost."""
