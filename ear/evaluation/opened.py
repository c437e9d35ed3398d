"""Opening the test split: recorded in the store before any of it is measured."""

from ecgvf.core import console, openings
from ecgvf.core.dataset import Dataset
from ecgvf.core.records import EvaluationSplit
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store


def count_openings(store: Store, dataset: Dataset, split: EvaluationSplit, adapter: str, recipe: str) -> int:
    """How often the test split was opened, this time included, which is recorded before any of it is measured."""
    run = ConceptRun(store, dataset.concept)
    if split == "test":
        openings.record(run, dataset=dataset.fingerprint, adapter=adapter, recipe=recipe)
    opened = len(openings.merge(dataset.openings, openings.openings(run)))
    if split == "test":
        console.note(f"this opens the test split of {dataset.concept.name}, now {opened} times in all; it is recorded")
    return opened
