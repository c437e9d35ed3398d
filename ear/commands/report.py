"""``ear report``."""

from pathlib import Path
from typing import Annotated

import typer

from ecgvf.commands.options import JsonOption
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
def report(
    results: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of a suite's results.", show_default="those of the suite that ran last in this folder"
        ),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="The suite's store, which has the images.", show_default="the suite's")
    ] = None,
    images: Annotated[int, typer.Option(min=0, help="Most images in the file.")] = 1000,
    out: Annotated[Path, typer.Option("--out", help="HTML file to write.")] = Path("report.html"),
    as_json: JsonOption = False,
) -> None:
    """Write a suite's results as one self-contained HTML file: figures, charts, images, and what was not measured."""
    from ear.report import write_report
    from ear.report.results import SuiteResults
    from ear.suite.last import last_results

    opened = SuiteResults.open(results if results is not None else last_results(), store)
    file = write_report(opened, out, images=images)
    size = file.stat().st_size
    console.print_result(
        {"report": str(file), "bytes": size, "results": str(opened.folder)},
        f"Report: {console.escape(str(file))} ({size / 1e6:.1f} MB). Open it in a browser.",
    )
