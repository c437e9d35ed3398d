"""``ear train``."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ear.commands.inputs import load_model, open_datasets, print_lines
from ear.commands.options import DEFAULT_RECIPE, DatasetArguments, parse_options, parse_seeds
from ear.commands.watchers import Previews, Tracker, Tracking
from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import JsonOption
from ecgvf.core import console

if TYPE_CHECKING:
    from ear.method.recipe import ResolvedRecipe
    from ear.method.recipes import PromptRecipe
    from ear.method.runs import TrainingRun
    from ecgvf.core.dataset import Dataset
    from ecgvf.core.store import Store
    from ecgvf.janus import JanusModel


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingArguments(DatasetArguments):
    """The datasets to train on, and the model that rendered them."""

    dataset: Annotated[
        str | None,
        typer.Option(
            help="ecgvf/CONCEPT, a file, or OWNER/REPO/CONCEPT@v1.0.0. Several, separated by commas, are erased "
            "together.",
            show_default="the last concept's",
        ),
    ] = None


@grouped
def train(
    *,
    source: TrainingArguments,
    recipe: Annotated[
        str, typer.Option(help="Name of a recipe; `ear recipes` explains them.", show_default=DEFAULT_RECIPE)
    ] = "default",
    option: Annotated[
        list[str] | None,
        typer.Option(help="Override a setting of the recipe, such as guidance=0.8. Repeatable."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of rollouts, of the order of the pairs and of rehearsal.", show_default="0"),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Several seeds, each of which trains an adapter: 0,1,2.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the steps, time and memory that training would take, but train nothing."),
    ] = False,
    preview_every: Annotated[
        int | None,
        typer.Option(
            help="Render some prompts every N steps, before and after erasing.", metavar="N", min=1, show_default="off"
        ),
    ] = None,
    track: Annotated[
        Tracker | None, typer.Option(help="Tracker to log the losses to as well.", show_default="none")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Erase the concept of a dataset, or of several (--dataset a,b), from the model that rendered it."""
    from ear.method import recipes
    from ear.method.erase import Watch, erase, resolve
    from ear.method.pairs import report_pairs
    from ear.method.parallel import leave_process_group
    from ear.method.precision import compute_dtype
    from ear.method.several import combine
    from ecgvf.core.errors import SettingsError

    if os.environ.get("RANK", "0") != "0":  # of several processes of accelerate or torchrun, the first reports
        console.silence()
    changed = recipes.find(recipe).with_options(parse_options(option or []))
    training_seeds = _training_seeds(seed, seeds)
    if isinstance(changed, recipes.PromptRecipe) and (seed, seeds, preview_every, track) != (None,) * 4:
        raise SettingsError(
            f"recipe {changed.name} trains nothing: leave out --seed, --seeds, --preview-every and --track"
        )
    store, datasets = open_datasets(source)
    dataset = combine(datasets)  # before the model is loaded: some cannot be erased together
    model = load_model(source, dataset)
    if isinstance(changed, recipes.PromptRecipe):
        _write_prompts(store, dataset, model, changed, dry_run=dry_run)
        return
    resolved = resolve(changed, datasets, model)
    weights = model.dtype_name if changed.weight_dtype == "model" else changed.weight_dtype
    precision = f"{compute_dtype(changed, model)} compute, {weights} weights"
    print_lines([*resolved.summary(), ("precision", precision)])
    if dry_run:
        report_pairs(datasets, changed.pairs)
        _print_cost(dataset, model, resolved, len(training_seeds) if changed.depends_on_seed else 1)
        return
    watchers: list[Watch] = [] if preview_every is None else [Previews(model, dataset, preview_every)]
    with ExitStack() as stack:
        if track is not None:
            tracking = Tracking(track)
            stack.callback(tracking.finish)  # also if training fails or is interrupted
            watchers.append(tracking)
        runs = erase(store, datasets, model, changed, training_seeds, watchers)
    _print_runs(dataset, model, resolved.settings(), runs)
    leave_process_group()


def _training_seeds(seed: int | None, seeds: str | None) -> list[int]:
    """What --seed or --seeds asks for. Raises ``SettingsError`` for both, and for a seed out of range."""
    from ecgvf.core.errors import SettingsError
    from ecgvf.core.seeds import check_seed

    if seed is not None and seeds is not None:
        raise SettingsError("--seed and --seeds exclude each other: leave one out")
    return parse_seeds(seeds) if seeds is not None else [check_seed(seed or 0)]


def _write_prompts(
    store: "Store", dataset: "Dataset", model: "JanusModel", recipe: "PromptRecipe", *, dry_run: bool
) -> None:
    """The adapter of a recipe that changes prompts only, and trains nothing."""
    from ear.method.erase import erase

    print_lines([("recipe", f"{recipe.name}: {recipe.description}")])
    if dry_run:
        console.print_result({"trainings": 0}, "Nothing would be trained.")
    else:
        runs = erase(store, [dataset], model, recipe, [0])
        _print_runs(dataset, model, {"recipe": recipe.settings()}, runs)


def _print_runs(
    dataset: "Dataset", model: "JanusModel", settings: Mapping[str, Any], runs: Sequence["TrainingRun"]
) -> None:
    """Print the adapters; with --json also the ``settings`` that they share."""
    for run in runs:
        how = _describe(run.facts) if run.new else "trained before"
        console.print(f"Adapter ({how}): {console.escape(str(run.adapter))}")
    facts = {"concept": dataset.concept.name, "dataset": dataset.fingerprint, "model": model.name}
    console.print_result(
        {**facts, **settings, "runs": [run.json() for run in runs]},
        "Next: [bold]ear generate --prompt …[/bold] to look at it, [bold]ear eval[/bold] to measure it",
    )


def _print_cost(dataset: "Dataset", model: "JanusModel", resolved: "ResolvedRecipe", trainings: int) -> None:
    """Print what training would take, by counting; the time is the least at this device's measured peaks."""
    from ear.method.cost import training_cost
    from ear.method.pairs import training_records
    from ear.method.retention import count_rendered
    from ecgvf.janus import generation_ids
    from ecgvf.janus.roofline import measure_roofs

    records = training_records(dataset, model, resolved.stated.pairs)
    prompts = [text for record in records for _, text in record.pair.prompts()]
    longest = int(generation_ids(model, prompts)[0].shape[1])
    cost = training_cost(model, resolved, len(records), longest, rendered=count_rendered(dataset, resolved.stated))
    flops, moved = cost.flops(trainings), cost.bytes(trainings)
    seconds = cost.seconds(measure_roofs(model.device, model.dtype), trainings)
    memory = ", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in cost.memory.items())
    lines = [
        ("trainings", f"{trainings}, each of at most {cost.steps:,} steps and {cost.rollouts:,} rollouts"),
        ("rehearsal", f"{cost.rehearsed:,} images to render first, unless the store has them"),
        (
            "work",
            f"{flops:.2e} FLOPs, {moved:.2e} bytes: at least {seconds / 60:,.1f} minutes on this {model.device.type}",
        ),
        ("memory", f"{cost.peak / 2**30:,.2f} GiB at once: {memory}"),
    ]
    facts = {"trainings": trainings, "steps": cost.steps, "rollouts": cost.rollouts, "rehearsed": cost.rehearsed}
    work = {"flops": flops, "bytes": moved, "seconds_at_least": seconds}
    console.print_result({**facts, **work, "memory": dict(cost.memory), "peak_bytes": cost.peak})
    print_lines(lines)


def _describe(facts: Mapping[str, Any]) -> str:
    if not facts["steps"] and not facts["circumstances"]:
        return "nothing trained"
    device, threads = (facts["circumstances"][key] for key in ("device", "threads"))
    on = console.counted(threads, "thread") if device == "cpu" else device
    return f"{facts['steps']} steps in {facts['seconds']:.0f} s on {on}"
