"""``import``: stage 1, pairs and prompts of other people."""

from typing import TYPE_CHECKING, Annotated

import typer

from ecgvf.commands.options import JsonOption, StoreOption
from ecgvf.core import console

if TYPE_CHECKING:
    from ecgvf.pairs.importing import ImportResult

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command("import")
def import_pairs(
    file: Annotated[
        str,
        typer.Argument(
            help="Text (a prompt per line), CSV, TSV, JSON, JSONL or Parquet; a folder of Six-CD; hub:OWNER/NAME."
        ),
    ],
    concept: Annotated[str, typer.Option("--concept", help="A shipped concept, or the path of a YAML file.")],
    only: Annotated[
        str | None, typer.Option("--only", help="Category of the rows to take, as the file names it, such as violence.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="Column to read if several fit; one of an unknown name holds the target prompts. Repeatable.",
        ),
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence of the file, kept with the pairs.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import pairs or prompts into the store, to be rendered and judged like any others."""
    from ecgvf import Run

    console.json_mode(as_json)
    result = Run.fresh(store, concept).import_pairs(file, columns=column or (), only=only, licence=licence)
    for warning, count in result.warnings.items():
        console.note(f"{count} × {warning}, such as: {console.escape(result.examples[warning])}")
    _print_result(result, as_json)


def _print_result(result: "ImportResult", as_json: bool) -> None:
    pairs, settings, summary = result.stage, result.stage.settings, result.stage.summary
    name = pairs.run.concept.name
    if as_json:
        facts = {"concept": name, "set": pairs.fingerprint, "path": str(pairs.path), "source": settings["source"]}
        facts |= {"columns": settings["columns"], "only": settings["only"], "left_out": result.left_out}
        console.print_json({**facts, "warnings": result.warnings, **summary})
        return
    train, test = summary["train"], summary["test"]
    columns = ", ".join(f"{meaning} from {' and '.join(names)}" for meaning, names in settings["columns"].items())
    only = f"; the rows of {settings['only']!r}" if settings["only"] else ""
    console.print(
        f"[bold]{name}[/bold]: {train['accepted']} pairs and {test['accepted']} test prompts from "
        f"{console.escape(settings['source']['name'])} ({console.escape(columns + only)}); "
        f"{result.left_out} rows of other concepts left out; "
        f"rejected {train['malformed'] + test['malformed']} malformed, "
        f"{train['duplicate'] + test['duplicate']} duplicate."
    )
    console.print(f"Set {pairs.fingerprint} in {console.escape(str(pairs.path))}. Next: [bold]ecgvf filter[/bold]")
