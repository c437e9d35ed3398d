"""``ear ablate``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ear.commands.inputs import load_model, open_dataset, print_lines
from ear.commands.options import (
    DEFAULT_RECIPE,
    DatasetArguments,
    MeasuringArguments,
    local_out,
    parse_options,
    parse_seeds,
)
from ecgvf.commands.grouping import grouped, to_argv
from ecgvf.commands.options import JsonOption
from ecgvf.core import console
from ecgvf.core.files import JSON
from ecgvf.core.pytorch import import_pytorch

if TYPE_CHECKING:
    from ear.method.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantArguments:
    """What is varied, around which recipe."""

    over: Annotated[
        str,
        typer.Option(
            help="Factors, separated by commas: window, patch-sampling, threshold, layers, modules, adapter, loss, "
            "guidance, order, trajectory, surrogates, retention, retention-weight, retained-concepts, rehearsed-words, "
            "rehearsal-noise, data. The table has these alone.",
        ),
    ]
    recipe: Annotated[
        str, typer.Option(help="Base recipe, of which one factor at a time is varied.", show_default=DEFAULT_RECIPE)
    ] = "default"
    option: Annotated[
        list[str] | None,
        typer.Option(help="Override a setting of the base recipe, such as passes=10. Repeatable."),
    ] = None
    seeds: Annotated[
        str, typer.Option(help="Training seeds of each variant; a deterministic recipe takes the first.")
    ] = "0"


@grouped
def ablate(
    *,
    varied: VariantArguments,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Begin no variant after this many minutes; the same command resumes.", show_default="no limit"
        ),
    ] = None,
    source: DatasetArguments,
    measuring: MeasuringArguments,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=local_out,
            metavar="PATH",
            help="Folder for the table and the plots.",
            show_default="CONCEPT/ablation/RECIPE in the store",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train and measure variants of a recipe, one factor at a time, and write a table and a plot per factor.

    Resumable: measured variants are not measured again.
    """
    import_pytorch()
    from ear.ablation import Ablation, all_variants, base_name, check_minutes
    from ear.ablation import ablate as run_ablation
    from ear.evaluation import check_settings
    from ecgvf.publish.redaction import public_command

    limit = math.inf if minutes is None else minutes
    check_minutes(limit)
    base = _base_recipe(varied.recipe, varied.option or [])
    factors = list(dict.fromkeys(part.strip() for part in varied.over.split(",") if part.strip()))
    all_variants(factors, base)  # an unknown factor is found before the model is loaded
    settings, training_seeds = measuring.settings(), parse_seeds(varied.seeds)
    store, dataset = open_dataset(source)
    name = base_name(base)
    # Another base has a table of its own.
    folder = out or store.root / dataset.concept.name / "ablation" / name.replace(", ", "-")
    check_settings(dataset, settings)
    print_lines([("base", name), ("factors", ", ".join(factors)), ("out", str(folder))])
    model = load_model(source, dataset)
    given = replace(source, dataset=source.dataset or f"ecgvf/{dataset.concept.name}")
    command = ["ear", "ablate", *to_argv(given, varied, measuring), *(["--out", str(out)] if out is not None else [])]
    ablation = Ablation(store, model, dataset, base, settings, training_seeds, folder, public_command(command))
    rows = run_ablation(ablation, factors, limit).to_pylist()
    console.print_result(
        {"concept": dataset.concept.name, "base": name, "out": str(folder), "rows": rows},
        _table(rows),
        f"Table and plots: {console.escape(str(folder))}",
    )


def _base_recipe(name: str, options: list[str]) -> "Recipe":
    """The recipe ``name``, with ``options`` such as passes=10. Raises ``RecipeError`` for a recipe of prompts."""
    from ear.method import recipes
    from ear.method.recipe import Recipe
    from ecgvf.core.errors import RecipeError

    base = recipes.find(name).with_options(parse_options(options))
    if not isinstance(base, Recipe):
        raise RecipeError(f"recipe {base.name} has no settings to change: choose one that trains")
    return base


def _table(rows: Sequence[JSON]) -> Table:
    """A row per variant, with the figures of ``CAPTIONS``."""
    from ear.ablation.ablation import CAPTIONS
    from ear.suite.leaderboard import text

    page = console.table("factor", "level", "equal", "steps", "skipped", *CAPTIONS.values())
    variants: dict[tuple[str, str, str], dict[str, JSON]] = {}
    for row in rows:
        variants.setdefault((row["factor"], row["level"], row["equal"]), {})[row["figure"]] = row
    for (factor, level, equal), figures in variants.items():
        first = next(iter(figures.values()))
        cells = [text(figures.get(name, "")) for name in CAPTIONS]
        page.add_row(factor, level, equal, f"{first['steps']:.0f}", f"{first['skipped']:.0%}", *cells)
    return page
