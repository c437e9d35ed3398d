"""``ear train``."""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ear.commands.callbacks import Previews, Tracker, Tracking
from ear.commands.inputs import load_model, open_datasets, print_lines
from ear.commands.options import DEFAULT_RECIPE, DatasetArguments, parse_options, parse_seeds
from ecgvf.commands.grouping import grouped, to_argv
from ecgvf.commands.options import JsonOption
from ecgvf.core import console
from ecgvf.core.pytorch import import_pytorch

if TYPE_CHECKING:
    import torch

    from ear.method.erase import Callback
    from ear.method.recipe import Recipe, ResolvedRecipe
    from ear.method.recipes import PromptRecipe
    from ear.method.runs import TrainingRun
    from ecgvf.core.dataset import AcceptedRecord, Dataset
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
    model: Annotated[
        str | None,
        typer.Option(
            help="Path or Hub id of the model that rendered the dataset, if it has moved, or that is to render a file "
            "of prompts. Any other is refused.",
            show_default="the model that rendered the dataset",
        ),
    ] = None


@grouped
def train(
    *,
    source: TrainingArguments,
    recipe_name: Annotated[
        str,
        typer.Option("--recipe", help="Name of a recipe; `ear recipes` explains them.", show_default=DEFAULT_RECIPE),
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
    weights: Annotated[
        str | None,
        typer.Option(
            help="Weights of the judge that filtered, for recipes that rehearse prompts with other words.",
            show_default="its own",
        ),
    ] = None,
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
    from ear.method.several import combine
    from ecgvf.core.errors import SettingsError

    if os.environ.get("RANK", "0") != "0":  # of several processes of accelerate or torchrun, the first reports
        console.silence()
    recipe = recipes.find(recipe_name).with_options(parse_options(option or []))
    training_seeds = _training_seeds(seed, seeds)
    if isinstance(recipe, recipes.PromptRecipe) and (seed, seeds, preview_every, track, weights) != (None,) * 5:
        raise SettingsError(
            f"recipe {recipe.name} trains nothing: leave out --seed, --seeds, --preview-every, --track and --weights"
        )
    store, datasets = open_datasets(source)
    dataset = combine(datasets)
    if isinstance(recipe, recipes.PromptRecipe):
        _write_prompts(source, store, dataset, recipe, dry_run=dry_run)
        return
    import_pytorch()
    from ear.method.erase import erase, resolve
    from ear.method.pairs import accepted_pairs, report_pairs
    from ear.method.parallel import leave_process_group
    from ecgvf.janus import load_without_weights

    # Before the weights are downloaded and loaded: what cannot be trained.
    empty_model = load_without_weights(source.model or dataset.model)
    device, dtype = _device_and_dtype(source, empty_model.name)
    empty_model.model.to(dtype)
    resolved = resolve(recipe, datasets, empty_model)
    accepted_pairs(dataset, resolved.recipe.pairs)
    if dry_run:
        report_pairs(datasets, recipe.pairs)
        trainings = len(training_seeds) if recipe.depends_on_seed else 1
        _print_cost(source, device, dataset, empty_model, resolved, trainings)
        return
    tracking = None if track is None else Tracking(track)
    model = load_model(source, dataset)
    print_lines([*resolved.summary(), _precision(recipe, model.device, model)])
    with _callbacks(model, dataset, preview_every, tracking) as callbacks:
        runs = erase(store, datasets, model, recipe, training_seeds, callbacks, weights)
    _print_runs(source, dataset, model, resolved.settings(), runs)
    leave_process_group()


@contextmanager
def _callbacks(
    model: "JanusModel", dataset: "Dataset", preview_every: int | None, tracking: Tracking | None
) -> Iterator[list["Callback"]]:
    """What to call after each window; ``tracking`` is finished at the end, also if training fails or is interrupted."""
    callbacks: list[Callback] = [] if preview_every is None else [Previews(model, dataset, preview_every)]
    try:
        yield callbacks if tracking is None else [*callbacks, tracking]
    finally:
        if tracking is not None:
            tracking.finish()


def _training_seeds(seed: int | None, seeds: str | None) -> list[int]:
    """What --seed or --seeds asks for. Raises ``SettingsError`` for both, and for a seed out of range."""
    from ecgvf.core.errors import SettingsError
    from ecgvf.core.seeds import check_seed

    if seed is not None and seeds is not None:
        raise SettingsError("--seed and --seeds exclude each other: leave one out")
    return parse_seeds(seeds) if seeds is not None else [check_seed(seed or 0)]


def _write_prompts(
    source: DatasetArguments, store: "Store", dataset: "Dataset", recipe: "PromptRecipe", *, dry_run: bool
) -> None:
    """The adapter of a recipe that changes prompts only, and trains nothing."""
    from ear.method.prompt_recipes import check_single, write_prompt_adapter

    check_single(recipe, dataset.concept)
    print_lines([("recipe", f"{recipe.name}: {recipe.description}")])
    if dry_run:
        console.print_result({"trainings": 0}, "Nothing would be trained.")
        return
    model = load_model(source, dataset)
    run = write_prompt_adapter(store, dataset, model, recipe)
    _print_runs(source, dataset, model, {"recipe": recipe.settings()}, [run])


def _precision(recipe: "Recipe", device: "torch.device", model: "JanusModel") -> tuple[str, str]:
    """The line about dtypes, for a training on ``device``."""
    from ear.method.precision import compute_dtype

    weights = model.dtype_name if recipe.weight_dtype == "model" else recipe.weight_dtype
    return "precision", f"{compute_dtype(recipe, model, device)} compute, {weights} weights"


def _print_runs(
    source: DatasetArguments,
    dataset: "Dataset",
    model: "JanusModel",
    settings: Mapping[str, Any],
    runs: Sequence["TrainingRun"],
) -> None:
    """Print the adapters; with --json also the ``settings`` that they share."""
    for run in runs:
        how = _describe(run.facts) if run.new else "trained before"
        console.print(f"Adapter ({how}): {console.escape(str(run.adapter))}")
    facts = {"concept": dataset.concept.name, "dataset": dataset.fingerprint, "model": model.name}
    console.print_result(
        {**facts, **settings, "runs": [run.json() for run in runs]},
        *_next_steps(source, dataset, runs[-1].path.name),
    )


def _next_steps(source: DatasetArguments, dataset: "Dataset", adapter: str) -> list[str]:
    """The commands that look at the adapter and measure it, with the options that they need from ``source``."""
    store = ["--store", str(source.store)] if source.store is not None else []
    first = replace(source, dataset=source.dataset and source.dataset.split(",")[0].strip())
    prompt = next((record.pair.target for record in dataset.train), dataset.concept.terms[0])
    look = shlex.join(["ear", "generate", "--adapter", adapter, *store, "--prompt", prompt])
    measure = shlex.join(["ear", "eval", "--adapter", adapter, *to_argv(first)])
    steps = {"Look at it": look} | ({"Measure it": measure} if dataset.validation else {})
    return [f"{purpose}: [bold]{console.escape(command)}[/bold]" for purpose, command in steps.items()]


def _print_cost(
    source: DatasetArguments,
    device: "torch.device",
    dataset: "Dataset",
    empty_model: "JanusModel",
    resolved: "ResolvedRecipe",
    trainings: int,
) -> None:
    """Print what training on ``device`` would take, counted from ``empty_model``, which has no weights; the time is the
    least at the measured peaks of the device at hand."""
    from ear.method.cost import training_cost
    from ear.method.pairs import accepted_pairs, check_renderer
    from ear.method.precision import computes_in_bfloat16
    from ear.method.retention import count_rendered
    from ecgvf.core.device import resolve_device
    from ecgvf.janus.loading import has_weights, resolve_dtype
    from ecgvf.janus.roofline import measure_roofs

    here = resolve_device(source.device)
    if has_weights(empty_model.path):  # else the training finds out
        check_renderer(dataset, empty_model)
    precision = _precision(resolved.recipe, device, empty_model)
    print_lines([("model", empty_model.name), *resolved.summary(), precision])
    if not computes_in_bfloat16(resolved.recipe, device, empty_model.dtype):
        resolved = replace(resolved, recipe=replace(resolved.recipe, mixed_precision="no"))
    records = accepted_pairs(dataset, resolved.recipe.pairs)
    rendered = count_rendered(dataset, resolved.recipe)
    cost = training_cost(empty_model, resolved, len(records), _longest(empty_model, records), rendered=rendered)
    flops, moved = cost.flops(trainings), cost.bytes(trainings)
    seconds = cost.seconds(measure_roofs(here, resolve_dtype(source.dtype, here)), trainings)
    memory = ", ".join(f"{part.replace('_', ' ')} {size / 2**20:,.1f} MiB" for part, size in cost.memory.items())
    counted = "" if device.type == here.type else f"; counted in {empty_model.dtype_name}, as for a GPU"
    processor = "CPU" if here.type == "cpu" else "GPU"
    lines = [
        ("trainings", f"{trainings}, each of at most {cost.steps:,} steps and {cost.rollouts:,} rollouts"),
        ("rehearsal", f"{cost.rehearsed:,} images to render first, unless the store has them"),
        (
            "work",
            f"{flops:.2e} FLOPs, {moved:.2e} bytes: at least {seconds / 60:,.1f} minutes on this {processor}{counted}",
        ),
        ("memory", f"{cost.peak / 2**30:,.2f} GiB at the peak: {memory}"),
    ]
    facts = {"trainings": trainings, "steps": cost.steps, "rollouts": cost.rollouts, "rehearsed": cost.rehearsed}
    work = {"dtype": empty_model.dtype_name, "flops": flops, "bytes": moved, "seconds_at_least": seconds}
    console.print_result({**facts, **work, "memory": dict(cost.memory), "peak_bytes": cost.peak})
    print_lines(lines)


def _device_and_dtype(source: DatasetArguments, model: str) -> "tuple[torch.device, torch.dtype]":
    """Device and dtype to count for: without a GPU, a model other than nano in bfloat16 on the GPU that it will need,
    unless ``source`` says otherwise."""
    import torch

    from ecgvf.core.device import resolve_device
    from ecgvf.janus.loading import resolve_dtype
    from ecgvf.world.domain import NANO

    device = resolve_device(source.device)
    if source.device != "auto" or device.type == "cuda" or model == NANO:
        return device, resolve_dtype(source.dtype, device)
    return torch.device("cuda"), resolve_dtype("bfloat16" if source.dtype == "auto" else source.dtype, device)


def _longest(model: "JanusModel", records: "Sequence[AcceptedRecord]") -> int:
    """Number of tokens of the longest prompt of ``records``."""
    from ecgvf.janus import generation_ids

    prompts = [text for record in records for _, text in record.pair.prompts()]
    return int(generation_ids(model, prompts)[0].shape[1])


def _describe(facts: Mapping[str, Any]) -> str:
    if not facts["steps"] and not facts["circumstances"]:
        return "nothing trained"
    device, threads = (facts["circumstances"][key] for key in ("device", "threads"))
    on = console.counted(threads, "thread") if device == "cpu" else device
    return f"{console.counted(facts['steps'], 'step')} in {facts['seconds']:.0f} s on {on}"
