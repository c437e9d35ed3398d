"""``ear train``."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ear.commands.inputs import open_dataset, print_lines
from ear.commands.options import DatasetArguments, parse_options, parse_seeds
from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import JsonOption
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
@grouped
def train(
    *,
    source: DatasetArguments,
    recipe: Annotated[
        str, typer.Option(help="Name of a recipe; `ear recipes` explains them.", show_default="on-policy")
    ] = "default",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="Another value for a recipe's setting, such as guidance=0.8. Repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of rollouts, of the order of the pairs and of rehearsal.")] = 0,
    seeds: Annotated[str | None, typer.Option(help="Several seeds, one training each: 0,1,2.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Erase the concept of a dataset from the model that rendered it."""
    from ear.method import recipes
    from ear.method.erase import erase, resolve
    from ear.method.prompt_recipes import write_prompt_adapter
    from ecgvf.core.store import Store

    console.json_mode(as_json)
    changed = recipes.find(recipe).with_options(parse_options(option or []))
    training_seeds = parse_seeds(seeds) if seeds is not None else [seed]
    store = Store(source.store)
    dataset, model = open_dataset(store, source)
    if isinstance(changed, recipes.PromptRecipe):
        print_lines([("recipe", f"{changed.name}: {changed.description}")])
        runs, settings = [write_prompt_adapter(store, dataset, model, changed)], {"recipe": {"name": changed.name}}
    else:
        resolved = resolve(changed, dataset, model)
        print_lines(resolved.summary())
        runs, settings = erase(store, dataset, model, resolved, training_seeds), resolved.settings()
    for run in runs:
        how = _describe(run.facts) if run.new else "trained before"
        console.print(f"Adapter ({how}): {console.escape(str(run.adapter))}")
    if as_json:
        facts = {"concept": dataset.concept.name, "dataset": dataset.fingerprint, "model": model.name}
        console.print_json({**facts, **settings, "runs": [run.json() for run in runs]})
    else:
        console.print("Next: [bold]ear generate --prompt …[/bold] to look at it, [bold]ear eval[/bold] to measure it")


def _describe(facts: Mapping[str, Any]) -> str:
    device, threads = (facts["circumstances"][key] for key in ("device", "threads"))
    on = f"{threads} thread(s)" if device == "cpu" else device
    return f"{facts['steps']} steps in {facts['seconds']:.0f} s on {on}"
