"""``ear``: its commands, in the order in which they are needed."""

from collections.abc import Callable
from typing import Annotated

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
from ecgvf.commands.options import version_option
from ecgvf.core import console

COMMANDS: dict[str, Callable[..., None]] = {
    "quickstart": quickstart.quickstart,
    "recipes": recipes.list_recipes,
    "train": train.train,
    "generate": generate.generate,
    "eval": evaluate.evaluate,
    "attack": attack.attack,
    "memorisation": memorisation.memorisation,
    "compare": compare.compare,
    "ablate": ablate.ablate,
    "suite": suite.suite,
    "report": report.report,
    "import-weights": import_weights.import_weights,
    "export": export.export,
    "push-to-hub": push.push_to_hub,
}

app = typer.Typer(
    cls=console.CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """Entry point of the ``ear`` script."""
    app()


@app.callback()
def _ear(version: Annotated[bool, version_option("ear")] = False) -> None:
    """Erase a concept from an autoregressive image model (EAR), and measure what else changes."""
