"""``ear suite``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ecgvf.commands.options import JsonOption
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
def suite(
    declaration: Annotated[
        Path | None,
        typer.Argument(metavar="[SUITE.yaml]", help="Concepts, recipes, seeds and figures.", show_default=False),
    ] = None,
    concepts: Annotated[
        str | None,
        typer.Option(help="Concepts, with commas; imagenette and painters are ten each.", show_default="the file's"),
    ] = None,
    recipes: Annotated[
        str | None, typer.Option(help="Recipes, with commas.", show_default="the file's, else default")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name, folder or Hub id.", show_default="the file's, else janus-nano")
    ] = None,
    submit: Annotated[
        list[str] | None,
        typer.Option(
            "--submit",
            metavar="NAME=DIR",
            help="Measure somebody else's images (DIR/index.parquet, as `ear generate --prompts` writes) or adapter, "
            "of several concepts in DIR/CONCEPT. Repeatable.",
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="Folder of pairs, images and adapters.", show_default="the file's, else suites/NAME/store"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of the outcomes and the table; its JSON is beside it.",
            show_default="the file's, else suites/NAME/results",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Measure nothing: list the missing cells, and write the table of the others."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train and measure every cell of a benchmark that is missing: one table, and a leaderboard. Resumable."""
    from ear.suite import Suite, known_results, leaderboard, read_spec, run_suite
    from ear.suite.last import remember
    from ear.suite.submission import parse_submissions

    changes: dict[str, Any] = {"concepts": _split(concepts), "recipes": _split(recipes), "model": model}
    spec = read_spec(declaration, {name: value for name, value in changes.items() if value is not None})
    submissions = parse_submissions(submit or [], spec.recipes)
    opened = Suite(spec, store or spec.store_folder, out or spec.results_folder, submissions)
    remember(opened.results)
    options = [("--concepts", concepts), ("--recipes", recipes), ("--model", model)]
    options += [("--submit", each) for each in submit or []]
    words = [str(declaration)] if declaration is not None else []
    words += [word for option, value in options if value is not None for word in (option, value)]
    command = " ".join(["ear suite", *words])
    content, failed = (known_results(opened, command), {}) if dry_run else run_suite(opened, command)
    facts = {"met": content["met"], "rows": len(content["rows"]), "out": str(opened.results)}
    failures = [{"cell": cell.name, "reason": reason} for cell, reason in failed.items()]
    if as_json:
        console.print_json({**facts, "failed": failures})
    else:
        typer.echo(leaderboard(content))
        console.print(f"Results: {console.escape(facts['out'])}", "Next: [bold]ear report[/bold]")
    for failure in failures:
        console.error(f"{failure['cell']} failed: {failure['reason']}")
    if failed or content["met"] is False:
        raise typer.Exit(1)


def _split(names: str | None) -> list[str] | None:
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]
