"""``import``: stage 1, pairs and prompts of other people."""

from typing import Annotated

import typer

from ecgvf.commands.options import COLUMN, JsonOption, StoreOption
from ecgvf.core import console


def import_pairs(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Text (a prompt per line), CSV, TSV, JSON, JSONL or Parquet; a folder of Six-CD; hub:OWNER/NAME.",
        ),
    ],
    concept: Annotated[str, typer.Option("--concept", help="A shipped concept, or the path of a YAML file.")],
    only: Annotated[
        str | None,
        typer.Option(
            help="Import only the rows of this category, as the file calls it (violence).",
            show_default="those that name the concept, else all rows",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help=COLUMN, show_default=False),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the file, recorded with the pairs.", show_default="not recorded")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import pairs or prompts into the store, to be rendered and judged like any others."""
    from ecgvf import Run
    from ecgvf.commands.pairs_output import accepted_counts, rejected_counts
    from ecgvf.commands.results import location, next_command, rendering_command, set_facts

    run = Run.from_definition(concept, store)
    result = run.import_pairs(file, columns=column or (), only=only, licence=licence)
    result.report()
    settings, summary = result.stage.settings, result.stage.summary
    facts = {key: settings[key] for key in ("source", "columns", "only")}
    columns = ", ".join(f"{meaning} from {' and '.join(names)}" for meaning, names in settings["columns"].items())
    rows = f"; the rows of {settings['only']!r}" if settings["only"] else ""
    facts |= {"left_out": result.left_out, "warnings": result.warnings, "rejected": result.rejected}
    console.print_result(
        {**set_facts(result.stage), **facts, **summary},
        f"[bold]{run.concept.name}[/bold]: {accepted_counts(summary)} from "
        f"{console.escape(settings['source']['name'])} ({console.escape(columns + rows)}); "
        f"{console.counted(result.left_out, 'row')} of other concepts left out; {rejected_counts(summary)}.",
        f"{location(result.stage)} {next_command(rendering_command(run), store=store)}",
    )
