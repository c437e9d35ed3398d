"""What each recipe can reach on Janus-nano: 8 trials of each, church and Van Gogh (`make benchmark-full`).

A recipe's trials vary how hard it erases: its learning rate, and its passes or its retention weight; those of
`negative-prompt` vary guidance. All train on the same pairs and are measured on the validation split. The frontier of a
recipe is its best retention among the trials that erase, and its best replacement among the trials that retain. Both
are optimistic, as the best of several noisy figures is.

docs/frontier.json is written after each trial, and the next run goes on from it: ``--minutes 40`` runs it in parts. The
last line of standard output is JSON: ``command``, ``versions``, ``split``, trials ``not_measured`` and ``met``, which
is null: there is no goal. The file has ``frontiers`` and ``trials``, too.
"""

import time
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.result import finish, program
from ear.ablation import check_minutes
from ear.evaluation import Evaluation, EvaluationSettings, evaluate, figures
from ear.evaluation.outcomes import selected
from ear.method.erase import erase
from ear.method.recipes import PROMPT_REWRITE, RECIPES, PromptRecipe, find
from ear.report.frontier import best_of, no_best
from ecgvf import Run
from ecgvf.core import concepts, console
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import RecipeError
from ecgvf.core.figures import Figure
from ecgvf.core.files import JSON, pretty_json, read_json, write_atomic
from ecgvf.core.shard_set import fingerprint, versions
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, load
from ecgvf.janus.loading import fingerprint as model_fingerprint
from ecgvf.judges.nano import nano_weights
from ecgvf.world import grammar
from ecgvf.world.domain import NANO

CONCEPTS = ("church", "van-gogh")
PAIRS, VALIDATION = 60, 100
SETTINGS = EvaluationSettings(split="validation", prompts_per_other=5, batch_size=64)
COMMAND = "python -m benchmarks.frontier"
LEFT_OUT = ("on-policy-words", "windowed-kl-half", "windowed-kl-tuned")
"""Variants of another recipe."""

GUIDANCES = (1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)


@dataclass(frozen=True)
class Trial:
    """One setting of one recipe."""

    concept: str
    recipe: str
    options: dict[str, Any]
    """Settings that differ from the recipe's own, or the guidance of a recipe that trains nothing."""

    def json(self) -> JSON:
        return {"concept": self.concept, "recipe": self.recipe, "options": self.options}


def trials(concept: str, name: str) -> list[Trial]:
    """The trials of a recipe: 8, or one of `prompt-rewrite`, which has nothing to vary."""
    recipe = find(name)
    if recipe == PROMPT_REWRITE:
        return [Trial(concept, name, {})]
    if isinstance(recipe, PromptRecipe):
        return [Trial(concept, name, {"guidance": guidance}) for guidance in GUIDANCES]
    rates = (0.5, 1.0, 2.0, 4.0)
    second, factors = ("retention", (1.0, 1 / 3)) if recipe.retention else ("passes", (1, 3))
    return [
        Trial(
            concept,
            name,
            {"learning_rate": recipe.learning_rate * rate, second: getattr(recipe, second) * factor},
        )
        for factor in factors
        for rate in rates
    ]


@dataclass(frozen=True)
class Frontier:
    """Where trials are trained, and the file of their figures."""

    store: Path
    file: Path

    @cached_property
    def model(self) -> JanusModel:
        return load(NANO)

    def dataset(self, concept: str) -> Dataset:
        """The pairs and validation prompts of all trials of a concept."""
        run = Run.from_definition(concept, self.store)  # the definition that ``key`` hashes
        run.generate(pairs=PAIRS, validation=VALIDATION, tests=0)
        run.render(model=NANO)
        run.filter()
        return run.dataset()

    def measured(self) -> dict[str, JSON]:
        """Key → finished trial."""
        if not self.file.is_file():
            return {}
        finished = read_json(self.file)["trials"]
        return {trial["key"]: trial for trial in finished if trial["figures"] is not None or "failed" in trial}

    def measure(self, trial: Trial) -> JSON:
        """Train and measure a trial. A training that diverges has no figures, and ``failed`` says why."""
        try:
            return self._measure(trial)
        except RecipeError as error:
            return {**trial.json(), "key": key(trial), "figures": None, "failed": str(error)}

    def _measure(self, trial: Trial) -> JSON:
        dataset, recipe, started = self.dataset(trial.concept), find(trial.recipe), time.monotonic()
        store, model = Store(self.store), self.model
        untrained = isinstance(recipe, PromptRecipe)
        changed = recipe if untrained else recipe.with_options(trial.options)
        adapter = erase(store, [dataset], model, changed, [0])[0].adapter
        found = evaluate(store, model, dataset, [adapter], SETTINGS)
        if untrained and trial.options:
            guided = replace(dataset, sampling=replace(dataset.sampling, **trial.options))
            found = against_usual(found, evaluate(store, model, guided, [adapter], SETTINGS))
        rows = [
            (row.figure, row.group, row.after) for row in (*found.replacement, *found.scene, *found.retention_by_group)
        ]
        measured = [
            {"figure": figure, "group": group, **after.json()}
            for figure, group, after in rows
            if group in ("concept", "neighbours", figures.POOLED)
        ]
        ratio = figures.retention_ratio(found.outcomes).json()
        measured.append({"figure": "retention_ratio", "group": figures.POOLED, **ratio})
        return {**trial.json(), "key": key(trial), "seconds": time.monotonic() - started, "figures": measured}


def against_usual(usual: Evaluation, changed: Evaluation) -> Evaluation:
    """``changed`` after erasing, against ``usual`` before erasing and as ceiling.

    The guidance of a trial is a part of its method: the original model keeps its own. What compares an image with the
    original model at the trial's guidance, nats and tokens, is left out.
    """
    guidance = usual.outcomes[0].guidance  # outcomes are paired by it
    after = [
        replace(each, guidance=guidance, nll_frozen=None, token_agreement=None)
        for each in selected(changed.outcomes, "after")
    ]
    return replace(usual, outcomes=(*usual.original, *after))


def key(trial: Trial) -> str:
    """Changes with everything that decides a trial's figures, but for the code and the machine."""
    return fingerprint(
        {
            **trial.json(),
            "definition": concepts.find(trial.concept).model_dump(mode="json"),
            "settings": find(trial.recipe).settings(),
            "numbers": [PAIRS, VALIDATION, SETTINGS.concept_count, SETTINGS.retained_count],
            "evaluation": asdict(SETTINGS),
            **_shipped(),
        }
    )


@cache
def _shipped() -> JSON:
    """Hashes of the model, of its world and of its judges' weights."""
    return {"model": model_fingerprint(NANO), "world": grammar.fingerprint(), "judges": nano_weights()}


def result(finished: dict[str, JSON]) -> JSON:
    """docs/frontier.json: every trial, without figures if it failed or was not run, and the frontier of each recipe."""
    listed, frontiers = [], []
    for concept in CONCEPTS:
        for name in (name for name in RECIPES if name not in LEFT_OUT):
            own = [
                finished.get(key(trial), {**trial.json(), "key": key(trial), "figures": None})
                for trial in trials(concept, name)
            ]
            listed += own
            frontiers.append({"concept": concept, "recipe": name, **best_of(own)})
    left = sum(trial["figures"] is None and "failed" not in trial for trial in listed)
    facts = {"command": COMMAND, "versions": versions(), "split": "validation", "not_measured": left, "met": None}
    return {**facts, "frontiers": frontiers, "trials": listed}


def run(
    store: Annotated[Path, typer.Option("--store", help="Folder of pairs, images and adapters.")] = Path(
        "build/frontier"
    ),
    out: Annotated[Path, typer.Option("--out", help="JSON of all trials.")] = Path("docs/frontier.json"),
    recipes: Annotated[list[str] | None, typer.Option("--recipe", help="Only these recipes.")] = None,
    minutes: Annotated[float, typer.Option(help="Begin no trial after this many minutes.")] = 600,
) -> None:
    """Train and measure the trials that are missing, and write all after each."""
    from tabulate import tabulate

    check_minutes(minutes)
    given = [find(name).name for name in recipes or ()]
    wanted = given or [name for name in RECIPES if name not in LEFT_OUT]
    for name in given:
        if name in LEFT_OUT:
            raise RecipeError(f"{name} is a variant of another recipe, and no part of the frontier")
    frontiers, started = Frontier(store, out), time.monotonic()
    finished = frontiers.measured()
    missing = [
        trial
        for concept in CONCEPTS
        for name in wanted
        for trial in trials(concept, name)
        if key(trial) not in finished
    ]
    for number, trial in enumerate(missing, 1):
        if time.monotonic() - started > 60 * minutes:
            break
        finished[key(trial)] = frontiers.measure(trial)
        console.note(f"{number} of {len(missing)}: {trial.concept} {trial.recipe} {trial.options}")
        write_atomic(out, pretty_json(result(finished)))
    content = result(finished)
    rows = [{name: _cell(value, each) for name, value in each.items()} for each in content["frontiers"]]
    typer.echo(tabulate(rows, headers="keys", tablefmt="github"))
    facts = {name: value for name, value in content.items() if name not in ("frontiers", "trials")}
    finish(facts, out, also_in_file=content)


def _cell(value: Any, best: JSON) -> Any:
    """A value of ``best`` as the table shows it."""
    if value is None:
        return no_best(best)
    return str(Figure.from_json(value)) if isinstance(value, dict) else value


app = program(run)

if __name__ == "__main__":
    app()
