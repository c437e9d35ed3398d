"""Erase concepts: from their datasets and a recipe to finished training runs in the store."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import mean
from typing import Any

import torch

from ear.method.adapter import Adapter
from ear.method.facts import adapter_settings, saved_facts
from ear.method.log import TrainingLog
from ear.method.lora import LORA_FILE
from ear.method.loss_plot import plot_losses
from ear.method.pairs import TrainingPair, report_pairs, training_pairs
from ear.method.parallel import ProcessGroup, process_group
from ear.method.precision import compute_dtype, fallback_dtype
from ear.method.progress import TrainingProgress
from ear.method.prompt_recipes import write_prompt_adapter
from ear.method.recipe import Recipe, ResolvedRecipe
from ear.method.recipes import AnyRecipe, PromptRecipe
from ear.method.retention import RehearsalSet, rehearsal_set, words_judge
from ear.method.rounds import most_steps
from ear.method.runs import ADAPTER_FILE, TrainingRun, open_run
from ear.method.several import combine, pairs_in_all
from ear.method.state import TrainingState
from ear.method.train import training_loop
from ear.retained_concepts import in_nano_world, rehearsed_concepts
from ecgvf.core import console
from ecgvf.core.dataset import Dataset
from ecgvf.core.device import device_errors
from ecgvf.core.errors import RecipeError
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import versions
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, num_threads
from ecgvf.judges import Judge
from ecgvf.pairs import captions
from ecgvf.world.domain import is_nano_judge

Callback = Callable[[TrainingRun, TrainingState], object]
"""Called after each window of a training; of several processes, in the main process only, which writes and reports."""


def resolve(recipe: Recipe, datasets: Sequence[Dataset], model: JanusModel) -> ResolvedRecipe:
    """Scale ``recipe`` to ``model``, fill in what it leaves to the concept (``Recipe.resolve``), and let it take up to
    its number of pairs of each dataset.

    Raises ``RecipeError`` if it leaves the window to concepts whose windows differ, if it rehearses words for datasets
    that different judges filtered, and if it tunes weights in float16.
    """
    if recipe.weight_dtype == "model" and model.dtype == torch.float16:
        raise RecipeError(
            f"recipe {recipe.name} tunes weights in the model's dtype, and in float16 Adam's ε of 1e-8 is 0: load the "
            "model with --dtype bfloat16 or float32, or train with --option weight_dtype=float32"
        )
    lengths = sorted({dataset.concept.window for dataset in datasets})
    if recipe.window is None and len(lengths) > 1:
        raise RecipeError(
            f"recipe {recipe.name} takes each concept's own window, and these have {' and '.join(map(str, lengths))}: "
            "choose one with --option window=N"
        )
    judges = {json.dumps([dataset.judge, dict(dataset.judge_options)], sort_keys=True) for dataset in datasets}
    if recipe.retention and recipe.rehearsed_words and len(judges) > 1:
        raise RecipeError(
            f"recipe {recipe.name} looks for the concepts with the judge that filtered, and those of these datasets "
            "differ in name or options: filter them alike, or train with --option rehearsed_words=0"
        )
    return replace(recipe, pairs=pairs_in_all(datasets, recipe.pairs)).resolve(
        tokens=model.image_tokens,
        depth=model.depth,
        concept_window=lengths[0],  # the only one, if the recipe takes it
        style=all(dataset.concept.kind == "style" for dataset in datasets),
    )


def erase(
    store: Store,
    datasets: Sequence[Dataset],
    model: JanusModel,
    recipe: AnyRecipe,
    seeds: Sequence[int],
    callbacks: Sequence[Callback] = (),
    weights: str | None = None,
) -> list[TrainingRun]:
    """Train an adapter per seed, each of which erases the concepts of all ``datasets``, and return the finished runs in
    order; a recipe without randomness, or that trains nothing, has a single run. ``callbacks`` are called after each
    window. ``weights`` are those of the judge that filtered (``words_judge``).

    An interrupted run resumes from its checkpoint; a finished run is returned as it is. On a CPU, equal runs with the
    same ``compute_dtype`` and the same number of threads and processes write equal bytes, and an interrupted run
    resumes with the number of threads that it began with.

    Raises ``AdapterError`` as ``training_loop`` does, ``DatasetError`` as ``combine``, ``training_pairs`` and
    ``rehearsal_set`` do, ``JudgeError`` as ``words_judge`` and ``rehearsal_set`` do, ``RecipeError`` as ``resolve``,
    ``training_loop`` and ``write_prompt_adapter`` do, and for the released loop in several processes, ``StoreError`` as
    ``open_run`` does, and ``SettingsError`` or ``DeviceFailed`` if the device lacks memory or fails.
    """
    dataset = combine(datasets)
    if isinstance(recipe, PromptRecipe):
        return [write_prompt_adapter(store, dataset, model, recipe)]
    resolved = resolve(recipe, datasets, model)
    concept = dataset.concept
    if len(seeds) > 1 and not recipe.depends_on_seed:
        console.note(f"recipe {recipe.name} is deterministic: only seed {seeds[0]} is trained")
        seeds = seeds[:1]
    group = process_group(model.device)  # joined before anything is rendered
    if group.count > 1 and recipe.trajectory == "streams":
        raise RecipeError(
            f"recipe {recipe.name}: the released loop trains in a single process, not in {group.count}: start it "
            "without a launcher"
        )
    judge = words_judge(dataset, resolved.recipe, str(model.device), weights)  # before anything is rendered
    with group.main_process_first():
        pairs = training_pairs(store, dataset, model, resolved.recipe.pairs, images=recipe.along_images)
    report_pairs(datasets, recipe.pairs)
    # With a shipped or exported dataset, the store may have no last concept yet.
    store.remember_first(concept.name.split("+")[0])
    settings = adapter_settings(
        concept, dataset.fingerprint, model, dataset.sampling, dtype=model.dtype_name, **resolved.settings()
    )
    settings |= fallback_dtype(recipe, model)
    if resolved.recipe.retention and not in_nano_world(dataset):
        # The captions that ship decide what is rehearsed, also which prompts of a retain split are.
        settings |= {"captions": captions.settings()}
    if judge is not None and not all(map(is_nano_judge, dataset.judge.split("+"))):  # whose weights are built in
        settings |= {"words_judge": judge.weights_hash}
    erasure = _Erasure(store, dataset, model, resolved, pairs, settings, callbacks, group, judge)
    runs = []
    with device_errors(model.device, "train", _less_memory(recipe)):
        for seed in seeds:
            run = open_run(ConceptRun(store, concept), recipe.name, settings, seed)
            runs.append(run if run.finished else erasure.train_seed(run, seed))
    return runs


@dataclass(frozen=True)
class _Erasure:
    """What the trainings of several seeds share."""

    store: Store
    dataset: Dataset
    model: JanusModel
    resolved: ResolvedRecipe
    pairs: Sequence[TrainingPair]
    settings: Mapping[str, Any]
    callbacks: Sequence[Callback]
    group: ProcessGroup
    words_judge: Judge | None
    _rehearsals: dict[int, RehearsalSet] = field(default_factory=dict)
    """Number of threads → the rehearsal set: the number decides how its frozen states are rounded."""

    def train_seed(self, run: TrainingRun, seed: int) -> TrainingRun:
        """Train with ``seed``, and save the run."""
        recipe, started = self.resolved.recipe, time.monotonic()
        threads = run.threads or torch.get_num_threads()
        description = f"erasing {self.dataset.concept.name}, seed {seed}"
        # Set even if it is this already: whether it was ever set decides how gradients are rounded (decision 0009).
        with num_threads(threads):
            with self.group.main_process_first():
                rehearsal = self._rehearsal(threads) if recipe.retention else None
            rehearsal_seconds = time.monotonic() - started
            with console.progress(description, most_steps(len(self.pairs), self.resolved)) as bar:
                progress = TrainingProgress(bar, description, len(self.pairs), self.resolved)

                def on_window(state: TrainingState) -> None:
                    progress(state.log)
                    if self.group.is_main:
                        for callback in self.callbacks:
                            callback(run, state)

                adapter, log = training_loop(
                    self.model,
                    self.pairs,
                    self.resolved,
                    seed,
                    sampling=self.dataset.sampling,
                    rehearsal=rehearsal,
                    run=run,
                    group=self.group,
                    on_window=on_window,
                )
        if not log.steps:
            console.warn(
                f"no window's loss exceeds the threshold τ {recipe.threshold:g}: no step was taken, and the adapter "
                "changes nothing"
            )
        with self.group.main_process_first():
            if self.group.is_main:
                self._save(run, seed, threads, adapter, log, rehearsal_seconds + log.seconds)
        return replace(run, new=True)

    def _save(
        self, run: TrainingRun, seed: int, threads: int, adapter: Adapter, log: TrainingLog, seconds: float
    ) -> None:
        """Write the adapter, the plot of its losses and run.json."""
        recipe, dataset = self.resolved.recipe, self.dataset
        facts = {**saved_facts(dataset.concept, self.model, self.settings), "seed": seed}
        if recipe.retention:
            facts["rehearsed_concepts"] = rehearsed_concepts(dataset, recipe.rehearsed, recipe.rehearsed_concepts)
        adapter.save(run.path / (LORA_FILE if recipe.adapter == "lora" else ADAPTER_FILE), facts, self.model.dtype)
        plot_losses(run, log, self.resolved)
        summary = _summary(log, round(seconds, 1))
        circumstances = {
            "threads": threads,
            "device": self.model.device.type,
            "compute_dtype": compute_dtype(recipe, self.model),
            "processes": self.group.count,
        }
        pair_ids = [pair.record_id for pair in self.pairs]
        run.finish({**facts, "circumstances": circumstances, **summary, "pairs": pair_ids})

    def _rehearsal(self, threads: int) -> RehearsalSet:
        recipe = self.resolved.recipe
        if threads not in self._rehearsals:
            self._rehearsals[threads] = rehearsal_set(self.store, self.model, self.dataset, recipe, self.words_judge)
        rehearsal = self._rehearsals[threads]
        most = recipe.rehearsed + recipe.rehearsed_words
        if len(rehearsal.prompts) < most:
            console.note(
                f"{console.counted(len(rehearsal.prompts), 'image')} to rehearse; the recipe takes up to {most}"
            )
        return rehearsal


def _less_memory(recipe: Recipe) -> list[str]:
    """The options that make training with ``recipe`` take less memory (docs/erase.md)."""
    if recipe.trajectory == "streams":  # which allows none of them
        return []
    options = {
        "adapter=lora": recipe.adapter == "full",
        "checkpointing=layers": recipe.checkpointing == "no",
        f"rollouts={recipe.rollouts // 2}": recipe.rollouts > 1,
    }
    return [f"--option {option}" for option, applies in options.items() if applies]


def _summary(log: TrainingLog, seconds: float) -> dict[str, Any]:
    """What run.json reports of a training. First and last losses are means over the first and last tenth of windows."""
    tenth = max(1, len(log.loss) // 10)
    retention_losses = [value for value in log.retention_loss if value is not None]
    return {
        "windows": len(log.loss),
        "steps": log.steps,
        "loss_first": mean(log.loss[:tenth]),
        "loss_last": mean(log.loss[-tenth:]),
        "retention_loss_last": mean(retention_losses[-tenth:]) if retention_losses else None,
        "seconds": seconds,
        "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "versions": versions(),
        "log": log.json(),
    }
