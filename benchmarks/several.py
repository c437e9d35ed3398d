"""Several concepts in one adapter against adapters that were trained apart and are stacked (docs/several.json).

    python -m benchmarks.several     # make several; about 75 minutes on one thread

Church and cat, on-policy, the same pairs, validation prompts and seeds: one adapter of both concepts, and two adapters
of one concept each whose changes are added up. Both take as many steps in all. Most of the time is evaluation: 100
images of each retained concept, 40 of each neighbour. Resumable: trained adapters and rendered images stay in the
store.

The last line of standard output is JSON: ``command``, ``versions``, ``recipe``, ``split`` and ``met``, which is null:
there is no goal. The file has ``rows``, too: the seconds of training and the figures of each way and concept.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.result import finish, program
from ear.evaluation import EvaluationSettings, evaluate, figures
from ear.method.erase import erase
from ear.method.recipes import ON_POLICY
from ear.method.runs import TrainingRun
from ecgvf import Run
from ecgvf.core.dataset import Dataset
from ecgvf.core.files import JSON
from ecgvf.core.shard_set import versions
from ecgvf.core.store import Store
from ecgvf.janus import load

CONCEPTS = ("church", "cat")
PAIRS, VALIDATION = 60, 100
SETTINGS = EvaluationSettings(prompts_per_concept=VALIDATION, prompts_per_neighbour=40, batch_size=64)
COMMAND = "python -m benchmarks.several"


def run(
    store: Annotated[Path, typer.Option("--store", help="Folder of pairs, images and adapters.")] = Path(
        "build/several"
    ),
    out: Annotated[Path, typer.Option("--out", help="JSON of the figures.")] = Path("docs/several.json"),
) -> None:
    """Train and measure both ways: about 75 minutes on one thread; resumable."""
    from tabulate import tabulate

    model, opened = load("janus-nano"), Store(store)
    datasets = [_dataset(store, concept) for concept in CONCEPTS]

    def train(several: Sequence[Dataset]) -> TrainingRun:
        return erase(opened, several, model, ON_POLICY, [0])[0]

    ways = {"together": [train(datasets)], "stacked": [train([dataset]) for dataset in datasets]}
    rows: list[JSON] = []
    for way, runs in ways.items():
        seconds = sum(each.facts["seconds"] for each in runs)
        for dataset in datasets:
            found = evaluate(opened, model, dataset, [each.adapter for each in runs], SETTINGS)
            measured = {
                "concept_present": next(row.after for row in found.replacement if row.figure == "concept_present"),
                "shows_surrogate_over_ceiling": figures.over_ceiling(found.outcomes)["shows_surrogate"],
                "retention_ratio neighbours": figures.retention_ratio(found.outcomes, "neighbours"),
                "retention_ratio pooled": figures.retention_ratio(found.outcomes),
            }
            which = {"way": way, "concept": dataset.concept.name, "training_seconds": seconds}
            rows += [{**which, "figure": name, **figure.json()} for name, figure in measured.items()]
    facts = {"command": COMMAND, "versions": versions(), "recipe": ON_POLICY.name, "split": "validation"}
    typer.echo(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3f"))
    finish({**facts, "met": None}, out, also_in_file={"rows": rows})


def _dataset(store: Path, concept: str) -> Dataset:
    run = Run.from_definition(concept, store)
    run.generate(pairs=PAIRS, validation=VALIDATION, tests=0)
    run.render(model="janus-nano")
    run.filter()
    return run.dataset()


app = program(run)

if __name__ == "__main__":
    app()
