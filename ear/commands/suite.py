"""``ear suite``."""

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ear.commands.options import local_out, local_store
from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import MODELS, EngineArguments, JsonOption
from ecgvf.core import console
from ecgvf.core.files import JSON
from ecgvf.core.pytorch import import_pytorch
from ecgvf.world.domain import NANO

if TYPE_CHECKING:
    from ear.suite import Cell, SuiteSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteArguments:
    """A suite's file, or options that stand for it."""

    declaration: Annotated[
        Path | None,
        typer.Argument(
            metavar="SUITE.yaml",
            help="YAML file that declares concepts, recipes, seeds and figures.",
            show_default=False,
        ),
    ] = None
    concepts: Annotated[
        str | None,
        typer.Option(
            help="Concepts, separated by commas; imagenette and painters are groups of ten. With a file, a selection.",
            show_default="the file's",
        ),
    ] = None
    recipes: Annotated[
        str | None,
        typer.Option(
            help="Recipes, separated by commas. With a file, a selection.", show_default="the file's, else on-policy"
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(help=f"{MODELS}. Not with SUITE.yaml.", show_default=NANO),
    ] = None
    submit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="Measure another method, by its adapter or its images (index.parquet, as `ear generate --prompts` "
            "writes it); for several concepts, in DIR/CONCEPT. With a file, no recipe is measured but those of "
            "--recipes. Repeatable.",
        ),
    ] = None
    store: Annotated[
        Path | None,
        typer.Option(
            parser=local_store,
            metavar="PATH",
            help="Folder of pairs, images and adapters.",
            show_default="the file's, else suites/NAME/store",
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            parser=local_out,
            metavar="PATH",
            help="Folder for the outcomes and the table; the JSON is written beside it. Finished cells of the file's "
            "folder are copied.",
            show_default="the file's, else suites/NAME/results",
        ),
    ] = None

    def spec(self) -> "SuiteSpec":
        """The suite in the file, or without a file the suite of the options. Raises ``SettingsError``."""
        from ear.suite import read_spec
        from ecgvf.core.errors import SettingsError

        if self.declaration is not None and self.model is not None:
            raise SettingsError(
                f"--model {self.model}: {self.declaration} names the suite's model; leave one of the two out"
            )
        if self.declaration is not None:
            return read_spec(self.declaration)
        named: dict[str, Any] = {
            "concepts": _split(self.concepts),
            "recipes": _split(self.recipes),
            "model": self.model,
        }
        if self.model is not None:  # each model has folders of its own
            named["name"] = _folder_name(self.model)
        return read_spec(None, {key: value for key, value in named.items() if value})

    def selected_recipes(self) -> list[str] | None:
        """The recipes to measure: with a file and a submission, none by default. None: all of the suite."""
        if self.recipes is None and self.declaration is not None and self.submit:
            return []
        return _split(self.recipes)

    def command(self) -> str:
        """The command that reproduces the whole table: with a file, without the selection of cells, unless submissions
        are measured for it."""
        words = [] if self.declaration is None else [str(self.declaration)]
        selection = [("--concepts", self.concepts), ("--recipes", self.recipes), ("--model", self.model)]
        if self.declaration is not None and not self.submit:
            selection = []
        options = [(option, value) for option, value in selection if value is not None]
        options += [("--submit", each) for each in self.submit or []]
        options += [(name, str(folder)) for name, folder in (("--store", self.store), ("--out", self.out)) if folder]
        return shlex.join(["ear", "suite", *words, *(word for option in options for word in option)])


def _folder_name(model: str) -> str:
    """A suite's name from its model: "owner-name" of a Hub id; of a folder its last part, with a hash of its path."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return _slug(model)
    return _slug(f"{folder.name}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]}")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")


@grouped
def suite(
    *,
    declared: SuiteArguments,
    engine: EngineArguments,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="List the missing cells and write the table of the others, but measure nothing."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train and measure the missing cells of a benchmark, and write its table and leaderboard. Resumable.

    Measures the test split, unless the file names another. For other models than Janus-nano, LLMs whose keys are set
    write the prompts, without asking, for at most 5 dollars a concept or the file's `budget_usd`.
    """
    import_pytorch()
    from ear.suite import Suite, copy_finished, leaderboard, run_suite, write_known_results
    from ear.suite.goals import unmet
    from ear.suite.last_results import remember
    from ear.suite.submission import parse_submissions

    spec = declared.spec()
    submissions = parse_submissions(declared.submit or [], spec.recipes)
    opened = Suite(
        spec,
        declared.store or spec.store_folder,
        declared.out or spec.results_folder,
        submissions,
        engine.create("auto"),
    )
    cells = opened.cells_among(_split(declared.concepts), declared.selected_recipes())
    if declared.out is not None and declared.declaration is not None:
        copy_finished(opened, spec.results_folder)
    if not dry_run:
        opened.check(opened.missing(cells))
        remember(opened.results)  # from here on, there will be results to report
    command = declared.command()
    content, failed = (write_known_results(opened, command), {}) if dry_run else run_suite(opened, command, cells)
    facts = {key: content[key] for key in ("met", "seconds")}
    facts |= {"rows": len(content["rows"]), "out": str(opened.results)}
    facts["missing"] = [cell.name for cell in opened.missing(cells)]
    failures = [{"cell": cell.name, "reason": reason} for cell, reason in failed.items()]
    if as_json:
        console.print_json({**facts, "failed": failures})
    else:
        typer.echo(leaderboard(_missing_among(cells, content) if dry_run else content))
        label = "Results" if opened.results.is_dir() else "No results yet"
        console.print(f"{label}: {console.escape(facts['out'])}")
        if not dry_run:
            console.print("Next: [bold]ear report[/bold]")
    for failure in failures:
        console.error(f"{failure['cell']} failed: {failure['reason']}")
    if content["met"] is False:
        console.error(f"{spec.goals} does not meet its goals: {unmet(content['rows'])}")
    if failed or content["met"] is False:
        raise typer.Exit(1)


def _missing_among(cells: "Sequence[Cell]", content: JSON) -> JSON:
    """``content`` without the rows of missing cells that are not among ``cells``."""
    from ear.suite.leaderboard import MISSING

    chosen = {(cell.concept, cell.recipe) for cell in cells}
    rows = [row for row in content["rows"] if row["figure"] != MISSING or (row["concept"], row["recipe"]) in chosen]
    return {**content, "rows": rows}


def _split(names: str | None) -> list[str] | None:
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]
