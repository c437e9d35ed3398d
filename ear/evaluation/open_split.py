"""Record in the store that the test split is opened, before anything is measured on it."""

from ecgvf.core import console, openings
from ecgvf.core.dataset import Dataset
from ecgvf.core.records import EvaluationSplit
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store


def open_split(store: Store, dataset: Dataset, split: EvaluationSplit, adapter: str, recipe: str) -> int:
    """Record that ``split`` is measured, if it is the test split. Returns how often test was opened so far.

    ``adapter`` is the hash of the measured weights. The count includes this time and the openings that came with the
    dataset.
    """
    run = ConceptRun(store, dataset.concept)
    if split == "test":
        openings.record(run, dataset=dataset.fingerprint, adapter=adapter, recipe=recipe)
    opened = len(openings.merge(dataset.openings, openings.openings(run)))
    if split == "test":
        name = dataset.concept.name
        console.note(f"measuring on the test split of {name}; this is recorded. {openings_text(opened)}")
    return opened


def openings_text(count: int | str) -> str:
    """How often the test split was opened, in a sentence."""
    return f"Openings of the test split so far: {count}."
