"""What erasing must achieve on Janus-nano (`make erasure`): the concept is gone, every other building stays.

Resumable: pairs, images, adapters and evaluation images stay in a store of its own. Exit code 1 if a bound is missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ear.evaluation import Evaluation, EvaluationSettings, evaluate
from ear.method.erase import erase, resolve
from ear.method.recipe import find
from ecgvf import Run
from ecgvf.core import console
from ecgvf.core.figures import Figure, proportion
from ecgvf.core.files import pretty_json, write_atomic
from ecgvf.core.store import Store
from ecgvf.janus import load

LARGEST_LEFT = 0.11
"""The paper's accuracy on church after erasing it from Janus-Pro (table 1)."""

SMALLEST_RETAINED = 0.95
"""Share of its accuracy before that every retained concept of the family must have after."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One thing that erasing must achieve, over all training seeds together."""

    name: str
    before: Figure
    after: Figure
    bound: float
    met: bool

    def json(self) -> dict[str, Any]:
        figures = {"before": self.before.json(), "after": self.after.json()}
        return {"concept": self.name, **figures, "bound": self.bound, "met": self.met}


def bounds(evaluations: Sequence[Evaluation]) -> list[Bound]:
    """The concept's bound and one per retained concept, with the images of all ``evaluations`` together."""
    after = pooled([evaluation.erasure.after for evaluation in evaluations])
    before = evaluations[0].erasure.before
    found = [Bound(evaluations[0].concept, before, after, LARGEST_LEFT, after.value <= LARGEST_LEFT)]
    for rows in zip(*(evaluation.retention for evaluation in evaluations), strict=True):
        concept, first = rows[0]
        after = pooled([change.after for _, change in rows])
        bound = SMALLEST_RETAINED * first.before.value
        found.append(Bound(concept.name, first.before, after, bound, after.value >= bound))
    return found


def pooled(figures: Sequence[Figure]) -> Figure:
    """The share over the images of all ``figures`` together."""
    return proportion(sum(round(figure.value * figure.n) for figure in figures), sum(figure.n for figure in figures))


def measure(
    store: Store,
    *,
    concept: str = "church",
    recipe: str = "default",
    options: dict[str, str] | None = None,
    model: str = "janus-nano",
    judge: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    validation: int = 240,
    settings: EvaluationSettings = EvaluationSettings(
        prompts_per_concept=200, prompts_per_other=100, family="building", batch_size=64
    ),
) -> list[Evaluation]:
    """The whole job on ``model``: pairs, images, verdicts by ``judge`` (None: the model's own), and per seed an adapter
    and its evaluation."""
    run = Run(concept, store)
    run.generate(pairs=60, validation=validation, tests=0)
    run.render(model=model)
    run.filter(judge=judge)
    dataset = run.dataset()
    janus = load(dataset.model)
    resolved = resolve(find(recipe).with_options(options or {}), dataset, janus)
    evaluations = []
    for trained in erase(store, dataset, janus, resolved, seeds):
        console.print(f"Adapter of seed {trained.facts['seed']}: {console.escape(str(trained.adapter))}")
        evaluations.append(evaluate(store, janus, dataset, [trained.adapter], settings))
    return evaluations


def table(evaluations: Sequence[Evaluation], found: Sequence[Bound]) -> Table:
    """Per bound: before, after each seed, after all seeds together, and whether it is met."""
    seeds = [f"seed {index}" for index in range(len(evaluations))]
    page = console.table("", "before", *seeds, "all seeds", "bound", "")
    for index, bound in enumerate(found):
        changes = [
            evaluation.erasure if index == 0 else evaluation.retention[index - 1][1] for evaluation in evaluations
        ]
        page.add_row(
            console.escape(bound.name),
            str(bound.before),
            *(f"{change.after.value:.3f}" for change in changes),
            str(bound.after),
            f"{'at most' if index == 0 else 'at least'} {bound.bound:.3f}",
            "met" if bound.met else "[bold red]missed[/bold red]",
        )
    return page


app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def check(
    store: Annotated[Path, typer.Option("--store", help="Folder of the store.")] = Path("build/erasure"),
    concept: Annotated[str, typer.Option(help="A concept of nano's world.")] = "church",
    recipe: Annotated[str, typer.Option(help="A named recipe.")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Train with three seeds, evaluate, and compare with the bounds."""
    console.json_mode(as_json)
    evaluations = measure(Store(store), concept=concept, recipe=recipe)
    found = bounds(evaluations)
    met = all(bound.met for bound in found)
    sheets = [
        evaluation.save_contact_sheet(evaluation.adapters[-1].with_name("sheet.png")) for evaluation in evaluations
    ]
    result = {
        "met": met,
        "bounds": [bound.json() for bound in found],
        "runs": [
            {**evaluation.json(), "sheet": str(sheet)} for evaluation, sheet in zip(evaluations, sheets, strict=True)
        ],
    }
    write_atomic(store / concept / "ear" / "erasure.json", pretty_json(result))
    if as_json:
        console.print_json(result)
    else:
        console.print(table(evaluations, found))
        for sheet in sheets:
            console.print(f"Contact sheet: {console.escape(str(sheet))}")
    if not met:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
