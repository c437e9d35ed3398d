"""Everything that one training needs, from a dataset's name to a finished run on disk."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import mean
from typing import Any

from ear.method.pairs import training_pairs
from ear.method.recipe import Recipe, Resolved
from ear.method.retention import gather
from ear.method.runs import Run, open_run
from ear.method.train import Log, train, visits
from ecgvf.core import console
from ecgvf.core.dataset import Dataset
from ecgvf.core.stage_set import versions
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel


@dataclass(frozen=True, slots=True)
class Erased:
    """A finished run."""

    run: Run
    seed: int
    fresh: bool
    """Whether it was trained now; False where it was there already."""

    def json(self) -> dict[str, Any]:
        facts = self.run.facts
        told = ("steps", "windows", "loss_first", "loss_last", "kept_last", "seconds")
        return {"adapter": str(self.run.adapter), "seed": self.seed, **{key: facts[key] for key in told}}


def resolve(recipe: Recipe, dataset: Dataset, model: JanusModel) -> Resolved:
    """The recipe on this model, with the concept's own window where the recipe leaves it open."""
    return recipe.resolve(tokens=model.image_tokens, depth=model.depth, concept_window=dataset.concept.window)


def erase(store: Store, dataset: Dataset, model: JanusModel, resolved: Resolved, seeds: Sequence[int]) -> list[Erased]:
    """Train one adapter per seed, or find it trained. An interrupted training goes on where its checkpoint is."""
    pairs = training_pairs(dataset, model, resolved.recipe.pairs)
    store.remember_first(dataset.concept.name)  # a dataset that shipped, or is a file, may be all that this store knows
    settings = {
        "concept": dataset.concept.name,
        "dataset": dataset.fingerprint,
        "model": model.fingerprint,
        "dtype": str(model.dtype).removeprefix("torch."),
        "sampling": dataset.sampling,
        **resolved.settings(),
    }
    runs = [open_run(store, dataset.concept.name, resolved.recipe.name, settings, seed) for seed in seeds]
    rehearsal = None
    if resolved.recipe.retention and not all(run.finished for run in runs):
        rehearsal = gather(store, model, dataset, resolved.recipe.rehearsed)
    done = []
    for seed, run in zip(seeds, runs, strict=True):
        fresh = not run.finished
        if fresh:
            # What the adapter's file says tells no time, so that equal runs write equal bytes.
            facts = {
                **settings,
                "unsafe": dataset.concept.unsafe,
                "model": model.name,
                "fingerprint": model.fingerprint,
                "seed": seed,
            }
            started = time.monotonic()
            what = f"erasing {dataset.concept.name}" + (f", seed {seed}" if len(seeds) > 1 else "")
            with console.progress(what, visits(pairs, resolved)) as bar:
                adapter, log = train(model, pairs, resolved, seed, rehearsal=rehearsal, run=run, visited=bar.advance)
            adapter.save(run.adapter, facts, model.dtype)
            run.finish({**facts, **_told(log, time.monotonic() - started), "pairs": [one.record_id for one in pairs]})
        done.append(Erased(run, seed, fresh))
    return done


def _told(log: Log, seconds: float) -> dict[str, Any]:
    """What a run says of itself: first and last are means over a tenth of the windows."""
    tenth = max(1, len(log.loss) // 10)
    kept = [value for value in log.kept if value is not None]
    return {
        "windows": len(log.loss),
        "steps": log.steps,
        "loss_first": mean(log.loss[:tenth]),
        "loss_last": mean(log.loss[-tenth:]),
        "kept_last": mean(kept[-tenth:]) if kept else None,
        "seconds": round(seconds, 1),
        "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "versions": versions(),
        "log": asdict(log),
    }
