"""Whether the shorter training of `ear quickstart` meets the goals that the whole recipe meets (docs/quickstart.json).

    python -m benchmarks.quickstart     # about 55 minutes on one thread

Church by `on-policy`, with the quickstart's passes and with the recipe's, on the same pairs and validation prompts, in
the numbers of the benchmark; two training seeds each. How long both take is measured by benchmarks/train.py. Resumable:
trained adapters and rendered images stay in the store.

The last line of standard output is JSON: ``lost`` (goals with a worse status after the quickstart's passes than after
the recipe's, or missed by both and further by the quickstart), ``command``, ``versions``, ``split``, ``training_seeds``
and ``met``. The file has ``rows``, too: a goal's figure and status after each number of passes. Exit code 1 if a goal
is lost.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.result import finish, program
from ear.commands.quickstart import PASSES
from ear.dataset import find_dataset
from ear.evaluation import EvaluationSettings, evaluate
from ear.evaluation.holm import Status
from ear.evaluation.outcomes import selected
from ear.method.erase import erase
from ear.method.recipes import ON_POLICY
from ear.suite.goals import goals
from ecgvf.core.figures import Figure
from ecgvf.core.files import JSON
from ecgvf.core.shard_set import versions
from ecgvf.core.store import Store
from ecgvf.janus import load

SETTINGS = EvaluationSettings(prompts_per_concept=200, prompts_per_group=200, prompts_per_neighbour=200, batch_size=64)
SEEDS = (0, 1)
"""Training seeds."""
COMMAND = "python -m benchmarks.quickstart"
COMPARED_PASSES = (PASSES, ON_POLICY.passes)
"""The quickstart's passes over the pairs, and the recipe's."""
RANKS: dict[Status, int] = {"not measured": 0, "missed": 1, "not shown": 2, "met": 3}


def run(
    store: Annotated[Path, typer.Option("--store", help="Folder of images and adapters.")] = Path("build/quickstart"),
    out: Annotated[Path, typer.Option("--out", help="JSON of the goals.")] = Path("docs/quickstart.json"),
) -> None:
    """Train and measure both: about 55 minutes on one thread; resumable."""
    from tabulate import tabulate

    rows = [row for passes in COMPARED_PASSES for row in measured(Store(store), passes)]
    typer.echo(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3f"))
    facts = {"command": COMMAND, "versions": versions(), "split": "validation", "training_seeds": SEEDS}
    goals_lost = lost(rows)
    finish({**facts, "lost": goals_lost, "met": not goals_lost}, out, also_in_file={"rows": rows})


def lost(rows: Sequence[JSON]) -> list[str]:
    """The goals that the quickstart's passes reach less than the recipe's, from the rows of both.

    Of a goal that both miss, the intervals decide: they must not overlap.
    """
    shorter, whole = ({row["goal"]: row for row in rows if row["passes"] == passes} for passes in COMPARED_PASSES)
    return [goal for goal, row in whole.items() if goal not in shorter or _worse(shorter[goal], row)]


def _worse(row: JSON, reference: JSON) -> bool:
    if row["status"] != reference["status"] or row["status"] != "missed":
        return RANKS[row["status"]] < RANKS[reference["status"]]
    here, there = Figure.from_json(row), Figure.from_json(reference)
    return here.low > there.high if row["goal"].startswith("concept_present") else here.high < there.low


def measured(store: Store, passes: int) -> list[JSON]:
    """A row per goal of church, after trainings with ``passes``. Understanding is not measured."""
    dataset, model = find_dataset(store, "ecgvf/church")[0], load("janus-nano")
    recipe = ON_POLICY if passes == ON_POLICY.passes else ON_POLICY.with_options({"passes": passes})
    runs = erase(store, [dataset], model, recipe, SEEDS)
    found = [evaluate(store, model, dataset, [run.adapter], SETTINGS) for run in runs]
    outcomes = [*found[0].original, *(outcome for each in found for outcome in selected(each.outcomes, "after"))]
    return [
        {
            "passes": passes,
            "goal": " ".join((goal.figure.removeprefix("goal_"), goal.group, goal.wording)),
            **goal.value.json(),
            "status": goal.status,
        }
        for goal in goals(outcomes, [])
    ]


app = program(run)

if __name__ == "__main__":
    app()
