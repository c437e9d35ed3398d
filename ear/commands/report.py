"""``ear report``."""

from pathlib import Path
from typing import Annotated

import typer

from ear.commands.options import html_file, local_store
from ecgvf.commands.options import JsonOption
from ecgvf.core import console


def report(
    results: Annotated[
        Path | None,
        typer.Argument(
            metavar="RESULTS",
            help="Folder of a suite's results, or a file of `ear eval --outcomes`.",
            show_default="the suite or `ear eval` that ran last",
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            parser=local_store,
            metavar="PATH",
            help="Store that has the images.",
            show_default="the suite's, else $ECGVF_STORE or ./ecgvf-store",
        ),
    ] = None,
    images: Annotated[int, typer.Option(min=0, help="Maximum number of images to embed.")] = 1000,
    out: Annotated[Path, typer.Option(parser=html_file, metavar="PATH", help="HTML file to write.")] = Path(
        "report.html"
    ),
    as_json: JsonOption = False,
) -> None:
    """Write results as one self-contained HTML file: figures, charts, images, and what was not measured."""
    from ear.report import open_results, write_report
    from ear.suite.last_results import last_results

    opened = open_results(results if results is not None else last_results(store), store)
    file = write_report(opened, out, images=images)
    size = file.stat().st_size
    written = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
    console.print_result(
        {"report": str(file), "bytes": size, "results": str(opened.source)},
        f"Report of {console.escape(opened.title)}: {console.escape(str(file))} ({written}). Open it in a browser.",
    )
