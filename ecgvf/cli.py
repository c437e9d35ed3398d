"""``ecgvf``: its commands, in the order of the stages."""

from collections.abc import Callable
from typing import Annotated

import typer

from ecgvf.commands import (
    bench,
    build,
    concepts,
    doctor,
    export,
    filter,
    generate,
    import_pairs,
    judge,
    push,
    render,
    review,
    status,
    templates,
    versions,
    writers,
)
from ecgvf.commands.options import version_option
from ecgvf.core import console

COMMANDS: dict[str, Callable[..., None]] = {
    "writers": writers.list_writers,
    "generate": generate.generate,
    "import": import_pairs.import_pairs,
    "render": render.render,
    "filter": filter.filter_pairs,
    "build": build.build,
    "judge": judge.judge_images,
    "review": review.review,
    "status": status.status,
    "export": export.export,
    "push-to-hub": push.push_to_hub,
    "versions": versions.versions,
    "diff": versions.diff,
    "bench": bench.bench,
    "doctor": doctor.doctor,
}

app = typer.Typer(
    cls=console.CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(concepts.app, name="concepts", invoke_without_command=True)
app.add_typer(templates.app, name="templates")
for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """Entry point of the ``ecgvf`` script."""
    app()


@app.callback()
def _ecgvf(version: Annotated[bool, version_option("ecgvf")] = False) -> None:
    """Build a benchmark for concept erasure: concept → pairs → images → verdicts → dataset."""
