"""``ear compare``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ear.commands.inputs import adapter_files, load_model, open_dataset, results_folder
from ear.commands.options import DatasetArguments, EvaluationArguments, FidelityArguments, png_file
from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import JsonOption
from ecgvf.core import console
from ecgvf.core.errors import SettingsError
from ecgvf.core.pytorch import import_pytorch

if TYPE_CHECKING:
    from ear.evaluation import Evaluation, EvaluationSettings


@grouped
def compare(
    *,
    evaluated: Annotated[
        list[str],
        typer.Argument(
            metavar="ADAPTER",
            help="Adapters (file, folder, name of a run, hub:OWNER/NAME), files of `ear eval --outcomes`, or a suite's "
            "cells.",
        ),
    ],
    source: DatasetArguments,
    measuring: EvaluationArguments,
    paper: FidelityArguments,
    form: Annotated[
        Literal["markdown", "latex", "csv"] | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Print the table for a document: markdown, latex or csv.",
            show_default="the terminal",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            parser=png_file,
            metavar="PATH",
            help="PNG file of the contact sheet.",
            show_default="compare-HASH.png beside the runs in the store, or beside the first file of outcomes",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show adapters side by side, on the same prompts and seeds, with their paired differences to the first."""
    import_pytorch()
    from ear.evaluation.comparison import comparison_json, differences, same_groups, same_tasks
    from ear.evaluation.contact_sheets import write_contact_sheet
    from ear.evaluation.table import document, evaluation_table
    from ecgvf.core.shard_set import fingerprint

    if as_json and form is not None:
        raise SettingsError(f"--json and --format {form} exclude each other: leave one out")
    console.json_mode(as_json or form is not None)
    if any(name.endswith(".parquet") for name in evaluated):
        usual = (DatasetArguments(store=source.store), EvaluationArguments(), FidelityArguments())
        if (source, measuring, paper) != usual:
            raise SettingsError("files of outcomes are compared as they are: leave out the options that measure")
        names, evaluations = _read(evaluated)
        folder = Path(evaluated[0]).parent
    else:
        names, evaluations, folder = _measure(source, measuring.settings(paper), evaluated)
    same_tasks(evaluations, names)
    evaluations = same_groups(evaluations)
    changes = [differences(evaluations[0], evaluation) for evaluation in evaluations[1:]]
    result = comparison_json(evaluations, names, changes)
    page = sheet if sheet is not None else folder / f"compare-{fingerprint({'sheet': result})[:8]}.png"
    if all(outcome.image for evaluation in evaluations for outcome in evaluation.outcomes):
        result["sheet"] = str(write_contact_sheet(evaluations, names, page))
    if as_json:
        console.print_json(result)
        return
    if form is not None:
        typer.echo(document(evaluations, names, form, changes))
    else:
        console.print(evaluation_table(evaluations, names, changes))
        console.print(f"Contact sheet: {console.escape(result.get('sheet', 'none, the outcomes are without images'))}")


def _read(files: Sequence[str]) -> "tuple[list[str], list[Evaluation]]":
    from ear.evaluation import Evaluation
    from ear.suite.cell_evaluations import is_cell, read_cells

    if others := [name for name in files if not name.endswith(".parquet")]:
        raise SettingsError(f"{others[0]} is not a file of outcomes: compare either such files or adapters")
    paths = [*map(Path, files)]
    evaluations = read_cells(paths) if all(map(is_cell, paths)) else [*map(Evaluation.load, paths)]
    return _distinct([path.stem for path in paths], files), evaluations


def _measure(
    source: DatasetArguments, settings: "EvaluationSettings", adapters: Sequence[str]
) -> "tuple[list[str], list[Evaluation], Path]":
    """Names and evaluations of the adapters, and the folder for what is written about them."""
    from ear.evaluation import check_settings
    from ear.evaluation import compare as compare_adapters
    from ear.method.oracle import MODEL_FILE
    from ear.method.runs import FILES

    store, dataset = open_dataset(source)
    files = adapter_files(store, dataset, adapters)
    names = [file.parent.name if file.name in (*FILES, MODEL_FILE) else file.stem for file in files]
    # A file of the Hub is in a folder named after its commit.
    names = [typed if typed.startswith("hub:") else name for typed, name in zip(adapters, names, strict=True)]
    check_settings(dataset, settings)
    evaluations = compare_adapters(store, load_model(source, dataset), dataset, files, settings)
    folder = results_folder(store, dataset.concept.name, files[:1]).parent
    return _distinct(names, adapters), evaluations, folder


def _distinct(names: Sequence[str], typed: Sequence[str]) -> list[str]:
    """The ``names``, or what the user typed in their place if two are equal."""
    return [*names] if len(set(names)) == len(names) else [*typed]
