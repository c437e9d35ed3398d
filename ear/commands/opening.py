"""What the commands begin with: the dataset, the model and the adapters they speak of, and a word on each."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecgvf.core import console

if TYPE_CHECKING:
    from ecgvf.core.dataset import Dataset
    from ecgvf.core.store import Store
    from ecgvf.janus import JanusModel


def open_dataset(
    store: "Store", dataset: str | None, chosen: str | None, model: str | None, device: str, dtype: str
) -> "tuple[Dataset, JanusModel]":
    """The dataset and the model, and a word on what they are."""
    from ear.dataset import find
    from ecgvf.janus import load

    found = find(store, dataset_named(store, dataset), chosen, model=model, device=device)
    data = found.dataset
    told([("dataset", found.where), ("model", model or data.model)])
    return data, load(model or data.model, device=device, dtype=dtype)


def dataset_named(store: "Store", name: str | None) -> str:
    return name if name is not None else f"ecgvf/{store.last_concept()}"


def adapter_files(store: "Store", dataset: str | None, named: Sequence[str] | None) -> list[Path]:
    """The adapters that were named, or the newest for the dataset; and a word on which."""
    from ear.dataset import concept_of
    from ear.method import runs

    if named:
        files = [runs.named(store, name) for name in named]
    else:
        files = [runs.newest(store, concept_of(store, dataset_named(store, dataset))).adapter]
    told([("adapter", ", ".join(map(str, files)))])
    return files


def told(lines: Sequence[tuple[str, str]]) -> None:
    for name, value in lines:
        console.print(f"[dim]{name:>10}[/dim]  {console.escape(value)}")
