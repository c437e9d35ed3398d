"""How fast training is: the released loop against teacher forcing, per pair, on Janus-nano (docs/train.json).

`published` takes four passes of a single token for each image token; `paper` with a window of 32 tokens takes the same
steps from a dataset's image tokens, a whole window at a time. They tune the same weights and take turns in one process;
the recommended recipe and `windowed-kl` run beside them, so that the training of `ear quickstart` can be compared with
that of `windowed-kl`. Each trains on the first pairs of the dataset, as many as it needs to be timed: 1 by `published`,
4 by `paper` and `windowed-kl`, a round of 48 by the recommended recipe. For Janus-Pro-7B the ratio is counted from
bytes and FLOPs at the roofs of an H100; and of each recipe that trains the memory at full size.

The last line of standard output is JSON: ``seconds_a_pair`` of each recipe, ``ratio`` (`published` over `paper`),
``quickstart`` (the training of `ear quickstart` over that of `windowed-kl`), ``ratio_7b`` (``ratio``, counted), with
its parts in ``counted_7b``, ``memory``, ``goals``, ``threads``, ``runs``, ``command``, ``counted_by``, ``versions`` and
``met``. Exit code 1 if a goal is missed, or if the recommended recipe does not fit its cards.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.full_size import H100, PROMPT_TOKENS, full_size
from benchmarks.result import finish, program
from ear.commands.quickstart import PASSES
from ear.dataset import find_dataset
from ear.method.cost import training_cost
from ear.method.erase import resolve
from ear.method.pairs import training_pairs
from ear.method.recipe import Recipe, ResolvedRecipe
from ear.method.recipes import DEFAULT, PAPER, PUBLISHED, RECIPES, WINDOWED_KL
from ear.method.retention import rehearsal_set, words_judge
from ear.method.rounds import count_images
from ear.method.train import training_loop
from ecgvf.core.dataset import Dataset
from ecgvf.core.files import JSON, read_json
from ecgvf.core.shard_set import versions
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, load
from tools.janus_pro import SHAPES

COMMAND = "python -m benchmarks.train"
LEAST, MOST = {"ratio": 8.0, "ratio_7b": 20.0}, {"quickstart": 1.0}
"""The goals."""
WINDOW = 72
"""L of 576: 32 of nano's 256 tokens, two rows."""
RELEASED, FORCED = (replace(recipe, window=WINDOW, threshold=0.0) for recipe in (PUBLISHED, PAPER))
"""The released loop, and teacher forcing: every window takes a step."""
CARDS = {"1b": 24, "7b": 80}
"""Size → memory of the card that it should train on, in GB."""


@dataclass(frozen=True)
class Trainings:
    """Trainings on pairs of one dataset, timed in turn."""

    model: JanusModel
    store: Store
    dataset: Dataset

    def seconds(self, recipe: Recipe, pairs: int) -> float:
        """Of one training on the first ``pairs`` pairs."""
        resolved = resolve(replace(recipe, pairs=pairs), [self.dataset], self.model)
        chosen = training_pairs(self.store, self.dataset, self.model, pairs)
        judge = words_judge(self.dataset, recipe, str(self.model.device))
        rehearsal = rehearsal_set(self.store, self.model, self.dataset, recipe, judge) if recipe.retention else None
        sampling = self.dataset.sampling
        started = time.perf_counter()
        training_loop(self.model, chosen, resolved, 0, sampling=sampling, rehearsal=rehearsal)
        return time.perf_counter() - started


def measure(trainings: Trainings, runs: int) -> JSON:
    """Median seconds per pair of each recipe, all in each run. A recipe's passes over its pairs are all counted.

    Of the recommended recipe one pass is timed, on as many pairs as a round has rollouts.
    """
    on_policy = replace(DEFAULT, passes=1)
    entries = {
        "published": (RELEASED, 1, 1),
        "paper": (FORCED, 4, 1),
        "windowed-kl": (WINDOWED_KL, 4, 1),
        DEFAULT.name: (on_policy, DEFAULT.rollouts, DEFAULT.passes),
    }
    times: dict[str, list[float]] = {name: [] for name in entries}
    for number in range(runs + 1):
        for name, (recipe, pairs, passes) in entries.items():
            seconds = passes * trainings.seconds(recipe, pairs) / pairs
            if number:  # the first run warms up
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def quickstart_ratio(seconds: Mapping[str, float]) -> float:
    """Seconds that the training of `ear quickstart` takes, over those of `windowed-kl` on the same pairs."""
    return round(PASSES / DEFAULT.passes * seconds[DEFAULT.name] / seconds[WINDOWED_KL.name], 3)


def counted_ratio() -> JSON:
    """Seconds that a pair of Janus-Pro-7B takes at least on an H100, by the released loop and with teacher forcing, and
    their ratio."""
    model = full_size("7b")
    weights = sum(parameter.numel() for parameter in model.language_model.layers.parameters())

    def seconds(recipe: Recipe) -> float:
        resolved = recipe.resolve(tokens=model.image_tokens, depth=SHAPES["7b"][2], concept_window=WINDOW)
        return training_cost(model, resolved, 1, PROMPT_TOKENS).seconds(H100)

    released, ours = seconds(RELEASED), seconds(FORCED)
    return {
        "weights": weights,
        "bytes_a_pass": weights * model.dtype.itemsize,
        "published_seconds": released,
        "paper_seconds": ours,
        "ratio_7b": released / ours,
    }


def memory_table(recipes: Sequence[Recipe]) -> list[JSON]:
    """Peak memory of each recipe at full size, and whether it fits the card."""
    rows = []
    for size, card in CARDS.items():
        model = full_size(size)
        for recipe in recipes:
            resolved: ResolvedRecipe = recipe.resolve(
                tokens=model.image_tokens, depth=SHAPES[size][2], concept_window=48
            )
            cost = training_cost(model, resolved, recipe.pairs, PROMPT_TOKENS)
            gigabytes = cost.peak / 1e9
            rows.append(
                {
                    "model": model.name,
                    "recipe": recipe.name,
                    "adapter": recipe.adapter if recipe.adapter == "full" else f"lora, rank {recipe.rank}",
                    "checkpointing": recipe.checkpointing,
                    "rollouts": recipe.rollouts,
                    "images": count_images(recipe.pairs, resolved),
                    "gb": round(gigabytes, 1),
                    "card_gb": card,
                    "fits": gigabytes < 0.9 * card,
                }
            )
    return rows


def count() -> JSON:
    """What is counted and not measured: the ratio at full size, and the memory of each recipe that trains."""
    full = replace(DEFAULT, adapter="full")
    saving = replace(full, checkpointing="layers", rollouts=24)
    recipes = [recipe for recipe in RECIPES.values() if isinstance(recipe, Recipe)]
    counted = counted_ratio()
    return {
        "ratio_7b": round(counted["ratio_7b"], 1),
        "counted_7b": counted,
        "memory": memory_table([*recipes, full, saving]),
        "counted_by": {"command": f"{COMMAND} --count docs/train.json", "versions": versions()},
    }


def met(result: JSON) -> bool:
    """Whether the ratios keep within their goals, and the recommended recipe fits both cards."""
    kind = "full" if DEFAULT.adapter == "full" else f"lora, rank {DEFAULT.rank}"
    recommended = [row for row in result["memory"] if (row["recipe"], row["adapter"]) == (DEFAULT.name, kind)]
    kept = [
        *(result[name] >= goal for name, goal in LEAST.items()),
        *(result[name] <= goal for name, goal in MOST.items()),
    ]
    return all(kept) and all(row["fits"] for row in recommended)


def run(
    runs: Annotated[int, typer.Option(help="Runs, after one that warms up.")] = 3,
    store: Annotated[Path, typer.Option("--store", help="Folder of the rehearsal set.")] = Path("build/train"),
    out: Annotated[Path | None, typer.Option("--out", help="JSON of the result.")] = None,
    counted_in: Annotated[
        Path | None, typer.Option("--count", help="Count Janus-Pro's cost anew in this JSON, and keep its seconds.")
    ] = None,
) -> None:
    """Time the recipes in turn, and count Janus-Pro's cost."""
    from tabulate import tabulate

    result = measured(runs, store) if counted_in is None else read_json(counted_in)
    result |= {"quickstart": quickstart_ratio(result["seconds_a_pair"]), "goals": {"least": LEAST, "most": MOST}}
    result |= count()
    result["met"] = met(result)
    typer.echo(tabulate(result["memory"], headers="keys", tablefmt="github"))
    for name, value in result["seconds_a_pair"].items():
        typer.echo(
            f"{name:>12}  {value:8.3f} s a pair, {value / result['seconds_a_pair']['published']:.2f} of published"
        )
    finish(result, counted_in or out)


def measured(runs: int, store: Path) -> JSON:
    """Seconds a pair, and the ratio of the released loop's to teacher forcing's."""
    opened = Store(store)
    dataset = find_dataset(opened, "ecgvf/church")[0]
    seconds = measure(Trainings(load("janus-nano"), opened, dataset), runs)
    return {
        "ratio": round(seconds["published"] / seconds["paper"], 2),
        "seconds_a_pair": {name: round(value, 4) for name, value in seconds.items()},
        "threads": torch.get_num_threads(),
        "runs": runs,
        "command": f"{COMMAND} --runs {runs}",
        "versions": versions(),
    }


app = program(run)

if __name__ == "__main__":
    app()
