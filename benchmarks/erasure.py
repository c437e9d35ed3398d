"""What erasing must show on Janus-nano, measured (`make erasure`): the concept gone, every other building kept.

Resumable: pairs, pictures, adapters and measured pictures are kept in a store of its own. Exit code 1 where a bound is
missed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ear.evaluation.accuracy import Figure, pooled
from ear.evaluation.evaluation import Change, Evaluation, evaluate, write_contact_sheet
from ear.method.erase import erase, resolve
from ear.method.recipe import find
from ecgvf.core import concepts, console
from ecgvf.core.files import write_atomic
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.filter.dataset import load_dataset
from ecgvf.janus import load
from ecgvf.pairs.generate import generate_pairs
from ecgvf.render import render

MOST_LEFT = 0.11
"""The paper's accuracy on church after erasing it from Janus-Pro (table 1)."""

LEAST_KEPT = 0.95
"""Of what every other topic of the family was."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One thing that erasing must show, over all training seeds together."""

    name: str
    before: Figure
    after: Figure
    bound: float
    met: bool


def bounds(results: Sequence[Evaluation]) -> list[Bound]:
    """The concept's bound and one per other topic, with the pictures of all ``results`` (training seeds) together."""
    erased = [result.erasure for result in results]
    after = pooled([change.after for change in erased])
    found = [Bound(results[0].concept, erased[0].before, after, MOST_LEFT, after.value <= MOST_LEFT)]
    for place, (topic, _) in enumerate(results[0].retention):
        changes: list[Change] = [result.retention[place][1] for result in results]
        before, after = changes[0].before, pooled([change.after for change in changes])
        bound = LEAST_KEPT * before.value
        found.append(Bound(topic.name, before, after, bound, after.value >= bound))
    return found


def measure(
    store: Store,
    *,
    concept: str = "church",
    recipe: str = "default",
    options: dict[str, str] | None = None,
    model: str = "janus-nano",
    judge: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    tests: int = 240,
    concept_count: int = 200,
    other_count: int = 100,
    family: str | None = "building",
) -> list[Evaluation]:
    """The whole job on ``model``: pairs, pictures, verdicts by ``judge`` (None: the model's own), one adapter per seed,
    one evaluation per adapter."""
    run = ConceptRun(store, concepts.find(concept))
    generate_pairs(run, pairs=60, tests=tests)
    render(run, model=model)
    filter_images(run, judge=judge)
    dataset = load_dataset(run)
    janus = load(dataset.model)
    resolved = resolve(find(recipe).changed(options or {}), dataset, janus)
    results = []
    for one in erase(store, dataset, janus, resolved, seeds):
        console.print(f"Adapter of seed {one.seed}: {console.escape(str(one.run.adapter))}")
        files = [one.run.adapter]
        results.append(
            evaluate(
                store,
                janus,
                dataset,
                files,
                concept_count=concept_count,
                other_count=other_count,
                family=family,
                batch_size=64,
            )
        )
    return results


def table(results: Sequence[Evaluation], found: Sequence[Bound]) -> Any:
    """Bound by bound: before, each seed, all seeds together, and whether it is met."""

    page = console.table("", "before", *(f"seed {place}" for place in range(len(results))), "all seeds", "bound", "")
    for place, one in enumerate(found):
        each = [result.erasure.after if place == 0 else result.retention[place - 1][1].after for result in results]
        sign = "at most" if place == 0 else "at least"
        page.add_row(
            console.escape(one.name),
            str(one.before),
            *(f"{figure.value:.3f}" for figure in each),
            str(one.after),
            f"{sign} {one.bound:.3f}",
            "met" if one.met else "[bold red]missed[/bold red]",
        )
    return page


app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def check(
    store: Annotated[Path, typer.Option("--store", help="Folder of its runs.")] = Path("build/erasure"),
    concept: Annotated[str, typer.Option(help="A concept that nano draws.")] = "church",
    recipe: Annotated[str, typer.Option(help="A named recipe.")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Train three seeds, measure them, and compare with the bounds."""
    console.json_mode(as_json)
    results = measure(Store(store), concept=concept, recipe=recipe)
    found = bounds(results)
    sheets = [
        write_contact_sheet([result], ["erased"], result.adapters[-1].with_name("sheet.png")) for result in results
    ]
    told = {
        "met": all(one.met for one in found),
        "bounds": [
            {
                "concept": one.name,
                "before": one.before.json(),
                "after": one.after.json(),
                "bound": one.bound,
                "met": one.met,
            }
            for one in found
        ],
        "runs": [{**result.json(), "sheet": str(sheet)} for result, sheet in zip(results, sheets, strict=True)],
    }
    write_atomic(store / concept / "ear" / "erasure.json", json.dumps(told, indent=2).encode() + b"\n")
    if as_json:
        console.print_json(told)
    else:
        console.print(table(results, found))
        for sheet in sheets:
            console.print(f"Contact sheet: {console.escape(str(sheet))}")
    if not told["met"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
