"""Whether the shorter training of `ear quickstart` meets the goals that the whole recipe meets (docs/quickstart.json).

    python -m benchmarks.quickstart     # about 55 minutes on one thread

Church by `on-policy`, with the quickstart's passes and with the recipe's, on the same pairs and validation prompts, in
the numbers of the benchmark; two training seeds each. How long both take is measured by benchmarks/train.py. Resumable:
trained adapters and rendered images stay in the store. The last line of standard output is JSON; exit code 1 if a goal
that the recipe meets is not met by the quickstart.
"""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.result import finish
from ear.commands.quickstart import PASSES
from ear.dataset import find_dataset
from ear.evaluation import EvaluationSettings, evaluate
from ear.evaluation.outcomes import selected
from ear.method.erase import erase, resolve
from ear.method.recipes import ON_POLICY
from ear.suite.goals import goals
from ecgvf.core import console
from ecgvf.core.files import JSON
from ecgvf.core.shard_set import versions
from ecgvf.core.store import Store
from ecgvf.janus import load

SETTINGS = EvaluationSettings(
    prompts_per_concept=200, prompts_per_other=8, prompts_per_group=200, prompts_per_neighbour=200, batch_size=64
)
SEEDS = (0, 1)
"""Training seeds."""
COMMAND = "python -m benchmarks.quickstart"

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def run(
    store: Annotated[Path, typer.Option("--store", help="Folder of images and adapters.")] = Path("build/quickstart"),
    out: Annotated[Path, typer.Option("--out", help="JSON of the goals.")] = Path("docs/quickstart.json"),
) -> None:
    """Train and measure both: about 55 minutes on one thread; resumable."""
    from tabulate import tabulate

    rows = [row for passes in (PASSES, ON_POLICY.passes) for row in measured(Store(store), passes)]
    typer.echo(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3f"))
    met = [(row["passes"], row["goal"]) for row in rows if row["status"] == "met"]
    lost = [goal for passes, goal in met if passes == ON_POLICY.passes and (PASSES, goal) not in met]
    facts = {"command": COMMAND, "versions": versions(), "split": "validation", "training_seeds": SEEDS}
    finish({**facts, "lost": lost, "met": not lost}, out, also_in_file={"rows": rows})


def measured(store: Store, passes: int) -> list[JSON]:
    """A row per goal of church, after trainings with ``passes``. Understanding is not measured."""
    dataset, model = find_dataset(store, "ecgvf/church")[0], load("janus-nano")
    recipe = ON_POLICY if passes == ON_POLICY.passes else ON_POLICY.with_options({"passes": passes})
    runs = erase(store, dataset, model, resolve(recipe, dataset, model), SEEDS)
    found = [evaluate(store, model, dataset, [run.adapter], SETTINGS) for run in runs]
    original = [outcome for outcome in found[0].outcomes if outcome.condition != "after"]
    outcomes = [*original, *(outcome for each in found for outcome in selected(each.outcomes, "after"))]
    return [
        {
            "passes": passes,
            "goal": " ".join((goal.figure.removeprefix("goal_"), goal.group, goal.wording)),
            **goal.value.json(),
            "status": goal.status,
        }
        for goal in goals(outcomes, [])
    ]


if __name__ == "__main__":
    app()
