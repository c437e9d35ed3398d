"""What the recipes achieve on Janus-nano, and what they cost (`make benchmark`, docs/benchmark.json).

Four concepts and three recipes, all trained on the same pairs; pairs and noise of three run seeds at training seed 0,
two more training seeds at run seed 0. All are measured on the test prompts of run seed 0. In the end the first cell of
each concept and recipe gets the full figures.

Resumable: pairs, images and adapters stay in a store of its own, and the outcomes of finished cells, without images, in
docs/benchmark, from which a fresh clone resumes, too.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import goals
from ear.evaluation import EvaluationSettings, evaluate, figures
from ear.evaluation.figures import FigureRow
from ear.evaluation.outcomes import AnsweredQuestion, Outcome, read_outcomes, selected, write_outcomes
from ear.evaluation.settings import Figures
from ear.method.erase import erase, resolve
from ear.method.recipes import find
from ecgvf import Run
from ecgvf.core import console
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.figures import Figure
from ecgvf.core.files import JSON, pretty_json, write_atomic
from ecgvf.core.paths import data_dir
from ecgvf.core.shard_set import fingerprint, versions
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, load
from ecgvf.judges.weights import file_hash
from ecgvf.pairs.checks import PromptIndex
from ecgvf.world import grammar

MODEL = "janus-nano"
CONCEPTS = ("church", "castle", "cat", "van-gogh")
SEEDS = ((0, 0), (1, 0), (2, 0), (0, 1), (0, 2))
"""(run seed, training seed) of each cell."""
RECIPES = {"on-policy": SEEDS, "windowed-kl": SEEDS, "paper": SEEDS[:3]}
"""Recipe → its cells; `paper` has no randomness, so that another training seed is the same cell."""
PAIRS, TESTS = 60, 240
SETTINGS = EvaluationSettings(
    prompts_per_concept=200, prompts_per_group=200, prompts_per_neighbour=200, split="test", batch_size=64
)
MISSING = "cells"
"""The figure of a row that names cells which have yet to be measured."""
JUDGES = data_dir() / "nano" / "judges"
COMMAND = "python -m benchmarks.erasure"


@dataclass(frozen=True)
class Cell:
    """One adapter to train and measure."""

    concept: str
    recipe: str
    run_seed: int
    training_seed: int
    figures: Figures = "default"

    @property
    def name(self) -> str:
        name = f"{self.concept}-{self.recipe}-r{self.run_seed}-t{self.training_seed}"
        return name if self.figures == "default" else f"{name}-{self.figures}"

    @property
    def settings(self) -> EvaluationSettings:
        return replace(SETTINGS, figures=self.figures)

    def key(self, model: JanusModel) -> str:
        """Changes with everything that decides the cell's outcomes, but for the code."""
        measured = asdict(self.settings)
        del measured["fidelity"]  # of figures that no cell measures, and younger than the finished cells
        settings = {"cell": asdict(self), "recipe": find(self.recipe).settings(), "settings": measured}
        numbers = {"pairs": PAIRS, "tests": TESTS}
        weights = {file.parent.name: file_hash(file) for file in sorted(JUDGES.glob("*/model.safetensors"))}
        facts = {"model": model.fingerprint, "world": grammar.fingerprint(), "judges": weights}
        return fingerprint({**settings, **numbers, **facts})


@dataclass(frozen=True)
class Measured:
    """The outcomes of a finished cell, without images."""

    cell: Cell
    outcomes: list[Outcome]
    """After erasing."""
    original: list[Outcome]
    """Before erasing, and the ceiling."""
    answered: list[AnsweredQuestion]


@dataclass(frozen=True)
class Benchmark:
    """The cells, where they are trained (``store``) and where their outcomes are kept (``folder``)."""

    store: Path
    folder: Path

    @cached_property
    def model(self) -> JanusModel:
        return load(MODEL)

    def measured(self, cell: Cell) -> Measured | None:
        """A finished cell; None if it has yet to be measured, or was measured with other settings."""
        file = self._file(cell.name)
        if not file.is_file():
            return None
        outcomes, facts = read_outcomes(file)
        if facts.get("key") != cell.key(self.model):
            return None
        answered = [AnsweredQuestion(**answer) for answer in facts["answered"]]
        return Measured(cell, outcomes, read_outcomes(self._file(facts["original"]))[0], answered)

    def measure(self, cell: Cell) -> Measured:
        """Train and measure a cell, and keep its outcomes."""
        started = time.monotonic()
        adapter = self._train(cell)
        found = evaluate(
            Store(self.store / "run-0"), self.model, self._dataset(cell.concept, 0), [adapter], cell.settings
        )
        original = [outcome for outcome in found.outcomes if outcome.condition != "after"]
        # The frozen model's outcomes are the same for all seeds of a recipe.
        name = f"{cell.concept}-original-{cell.recipe}-{cell.settings.figures}"
        write_outcomes(original, self._file(name), images=False)
        facts: JSON = {
            "key": cell.key(self.model),
            "original": name,
            "answered": [asdict(answer) for answer in found.answered],
            "seconds": round(time.monotonic() - started),
        }
        write_outcomes(selected(found.outcomes, "after"), self._file(cell.name), facts, images=False)
        found.save_contact_sheet(adapter.with_name("sheet.png"))
        measured = self.measured(cell)
        assert measured is not None
        return measured

    def _train(self, cell: Cell) -> Path:
        dataset = self._dataset(cell.concept, cell.run_seed)
        store = Store(self.store / f"run-{cell.run_seed}")
        resolved = resolve(find(cell.recipe), dataset, self.model)
        return erase(store, dataset, self.model, resolved, [cell.training_seed])[0].adapter

    def _dataset(self, concept: str, run_seed: int) -> Dataset:
        """The dataset of a run seed. Seed 0 alone has test prompts, and no pair of another seed is like one of them."""
        run = Run(concept, self.store / f"run-{run_seed}")
        run.generate(pairs=PAIRS, validation=0, tests=0 if run_seed else TESTS, seed=run_seed)
        run.render(model=MODEL, seed=run_seed)
        run.filter()
        dataset = run.dataset()
        if not run_seed:
            return dataset
        tests = PromptIndex([record.pair.target for record in self._dataset(concept, 0).test])
        train = [record for record in dataset.train if tests.near_duplicate(record.pair.target) is None]
        return replace(dataset, train=tuple(train))

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"


def table_rows(concept: str, recipe: str, cells: Sequence[Measured]) -> list[JSON]:
    """The rows of a concept and recipe: before erasing, after it and the ceiling, of all its cells together."""
    # A recipe without randomness ends in the same adapter, whatever the training seed: it counts once.
    distinct = list({cell.outcomes[0].adapter: cell for cell in reversed(cells)}.values())[::-1]
    after = [outcome for cell in distinct for outcome in cell.outcomes]
    groups = {outcome.concept: outcome.group for outcome in after}
    original = {
        (outcome.condition, outcome.sample, *outcome.task): outcome for cell in cells for outcome in cell.original
    }
    outcomes = [*(replace(outcome, group=groups[outcome.concept]) for outcome in original.values()), *after]
    answered = [answer for cell in distinct for answer in cell.answered]
    facts = {
        "concept": concept,
        "model": MODEL,
        "split": SETTINGS.split,
        "run_seeds": sorted({cell.cell.run_seed for cell in cells}),
        "training_seeds": sorted({cell.cell.training_seed for cell in cells}),
    }
    main = outcomes[0]
    rows = [
        *figures.replacement(outcomes),
        *figures.scene(outcomes),
        *figures.retention(outcomes),
        *figures.understanding(answered, main.guidance, main.temperature),
        *figures.retention_by_concept(outcomes),
        *figures.replacement_by_wording(outcomes),
        *figures.replacement_by_sampling(outcomes),
        *figures.concept_in_any_seed(outcomes),
    ]
    found = [json for row in rows for json in _rows(row, recipe, facts)]
    if recipe == goals.RECIPE:
        shape = {"guidance": main.guidance, "temperature": main.temperature, "judge": None}
        found += [
            {**_row({**facts, **shape, "figure": goal.figure, "group": goal.group}, recipe, goal.wording, goal.value)}
            | {"status": goal.status}
            for goal in goals.goals(outcomes, answered)
        ]
    for group in ("pooled", *dict.fromkeys(group for group in groups.values() if group != "concept")):
        ratio = figures.retention_ratio(outcomes, group)
        shape = {
            "figure": "retention_ratio",
            "group": group,
            "guidance": main.guidance,
            "temperature": main.temperature,
        }
        found.append(_row({**facts, **shape, "judge": None}, recipe, "pooled", ratio))
    return found


def _rows(row: FigureRow, recipe: str, facts: JSON) -> Iterator[JSON]:
    shape = {key: getattr(row, key) for key in ("figure", "group", "guidance", "temperature", "judge")}
    for name, figure in (("original", row.before), (recipe, row.after), ("ceiling", row.ceiling)):
        if figure is not None and figure.n:
            yield _row({**facts, **shape}, name, row.wording, figure)
    yield _row({**facts, **shape, "figure": f"{row.figure}_change"}, recipe, row.wording, row.change)


def _row(facts: JSON, recipe: str, wording: str, figure: Figure) -> JSON:
    """One row; without goals every measured figure has the status "none"."""
    if recipe in ("original", "ceiling"):
        facts = {**facts, "run_seeds": [0], "training_seeds": []}
    status = "none" if figure.json()["value"] is not None else "not measured"
    return {**facts, "recipe": recipe, "class": wording, **figure.json(), "status": status}


def missing_row(concept: str, recipe: str, cells: Sequence[Cell]) -> JSON:
    """That some cells have yet to be measured."""
    seeds = {"run_seeds": [cell.run_seed for cell in cells], "training_seeds": [cell.training_seed for cell in cells]}
    shape = {"figure": MISSING, "group": "concept", "guidance": None, "temperature": None, "judge": None}
    facts = {"concept": concept, "model": MODEL, "split": SETTINGS.split, **seeds, **shape, "recipe": recipe}
    return {**facts, "class": "pooled", "value": None, "n": 0, "low": None, "high": None, "status": "not measured"}


def result(benchmark: Benchmark) -> JSON:
    """docs/benchmark.json: the rows of all finished cells, pooled ones first.

    ``met``: whether the recommended recipe meets every goal for every concept; null until all its cells are measured.
    """
    rows: list[JSON] = []
    for concept in CONCEPTS:
        for recipe, recipe_seeds in RECIPES.items():
            cells = [Cell(concept, recipe, *seeds) for seeds in recipe_seeds]
            finished = [measured for cell in cells if (measured := benchmark.measured(cell)) is not None]
            missing = [cell for cell in cells if cell not in {measured.cell for measured in finished}]
            full = replace(cells[0], figures="full")
            if (measured := benchmark.measured(full)) is not None:  # it has what the default figures have
                finished = [measured, *(each for each in finished if each.cell != cells[0])]
            else:
                missing.append(full)
            if finished:
                rows += table_rows(concept, recipe, finished)
            if missing:
                rows.append(missing_row(concept, recipe, missing))
    keys = [tuple(str(row[key]) for key in row if key not in ("value", "n", "low", "high", "status")) for row in rows]
    unique = list(dict(zip(reversed(keys), reversed(rows), strict=True)).values())[::-1]
    ordered = sorted(unique, key=lambda row: (row["group"] != "pooled", row["class"] != "pooled"))
    statuses = {row["status"] for row in ordered if row["figure"].startswith("goal_")}
    missing = [row for row in ordered if row["recipe"] == goals.RECIPE and row["figure"] == MISSING]
    met = statuses == {"met"} if statuses and not missing else None
    return {"met": met, "command": COMMAND, "versions": versions(), "rows": ordered}


README_FIGURES = {
    "concept_present": "shows the concept",
    "shows_surrogate": "shows its surrogate",
    "shows_something": "shows something",
    "scene_kept": "scene kept",
    "nll_frozen": "nats per token",
    "retention neighbours": "neighbours",
    "retention surrogates": "surrogates",
    "retention pooled": "all retained",
}
"""Figures of the README's table → its columns."""


def readme_table(content: JSON) -> str:
    """The README's table, in Markdown, from docs/benchmark.json."""
    from tabulate import tabulate

    rows = [row for row in content["rows"] if row["class"] == "pooled" and row["value"] is not None]
    names = dict.fromkeys((row["concept"], row["recipe"]) for row in rows)
    order = {name: index for index, name in enumerate(("original", "ceiling", *RECIPES))}
    lines = []
    for concept, recipe in sorted(names, key=lambda name: (CONCEPTS.index(name[0]), order[name[1]])):
        mine = [row for row in rows if (row["concept"], row["recipe"]) == (concept, recipe)]
        main = next(row for row in mine if row["figure"] == "concept_present")
        mine = [row for row in mine if (row["guidance"], row["temperature"]) == (main["guidance"], main["temperature"])]
        cells = {f"{row['figure']} {row['group']}": row for row in mine if row["figure"] in ("retention",)}
        cells |= {row["figure"]: row for row in mine if row["group"] in ("concept", "pooled")}
        lines.append([concept, recipe, *(_cell(cells.get(key)) for key in README_FIGURES)])
    return tabulate(lines, ["concept", "model", *README_FIGURES.values()], tablefmt="github", disable_numparse=True)


def _cell(row: JSON | None) -> str:
    if row is None:
        return ""
    return f"{row['value']:.2f}" + ("" if row["low"] is None else f" ({row['low']:.2f} to {row['high']:.2f})")


app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def run(
    store: Annotated[Path, typer.Option("--store", help="Folder of pairs, images and adapters.")] = Path(
        "build/benchmark"
    ),
    folder: Annotated[Path, typer.Option("--outcomes", help="Folder of the finished cells' outcomes.")] = Path(
        "docs/benchmark"
    ),
    out: Annotated[Path, typer.Option("--out", help="JSON of all rows.")] = Path("docs/benchmark.json"),
    concepts: Annotated[list[str] | None, typer.Option("--concept", help="Only these concepts.")] = None,
) -> None:
    """Train and measure every cell that is missing, and write the table after each."""
    wanted = concepts or CONCEPTS
    if unknown := sorted(set(wanted) - set(CONCEPTS)):
        raise DatasetError(f"--concept {unknown[0]}: the benchmark has {', '.join(CONCEPTS)}")
    benchmark = Benchmark(store, folder)
    cells = [
        Cell(concept, recipe, *seeds)
        for seeds in SEEDS
        for concept in wanted
        for recipe, recipe_seeds in RECIPES.items()
        if seeds in recipe_seeds
    ]
    first = [cell for cell in cells if (cell.run_seed, cell.training_seed) == SEEDS[0]]
    cells += [replace(cell, figures="full") for cell in first]
    for number, cell in enumerate(cells, 1):
        if benchmark.measured(cell) is None:
            started = time.monotonic()
            benchmark.measure(cell)
            console.note(f"{number} of {len(cells)}: {cell.name} in {time.monotonic() - started:.0f} s")
            write_atomic(out, pretty_json(result(benchmark)))
    content: dict[str, Any] = result(benchmark)
    write_atomic(out, pretty_json(content))
    typer.echo(readme_table(content))
    console.print_json({"met": content["met"], "rows": len(content["rows"]), "out": str(out)})
    if content["met"] is False:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
