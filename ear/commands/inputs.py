"""Find the inputs of a command, dataset, adapters and model, and print each.

The model is loaded last (``load_model``), after all that can be checked without its weights, the files of
``--figures paper`` excepted: a mistake in an option does not cost a download of 14 GB.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ear.commands.options import DatasetArguments
from ecgvf.commands.grouping import to_argv
from ecgvf.core import console

if TYPE_CHECKING:
    from ecgvf.core.dataset import Dataset
    from ecgvf.core.store import Store
    from ecgvf.janus import JanusModel


def open_dataset(arguments: DatasetArguments) -> "tuple[Store, Dataset]":
    """The store, and its dataset, by default the last concept's."""
    from ecgvf.core.store import Store

    store = Store(arguments.store)
    return store, _find(store, _dataset_name(store, arguments), arguments)


def open_datasets(arguments: DatasetArguments) -> "tuple[Store, list[Dataset]]":
    """The store, and the datasets that ``--dataset`` names, separated by commas."""
    from ecgvf.core.store import Store

    store = Store(arguments.store)
    return store, [_find(store, name.strip(), arguments) for name in _dataset_name(store, arguments).split(",")]


def load_model(arguments: DatasetArguments, dataset: "Dataset") -> "JanusModel":
    """The model, by default that of the dataset."""
    from ecgvf.janus import load

    model = arguments.model or dataset.model
    print_lines([("model", model)])
    return load(model, device=arguments.device, dtype=arguments.dtype)


def adapter_files(store: "Store", dataset: "Dataset | None", adapters: Sequence[str] | None) -> list[Path]:
    """The files of ``adapters``, each a file, a folder or a run's name; without any, as in ``api.adapter_files``."""
    from ear.api import adapter_files as find

    files = find(store, dataset, adapters or None)
    print_lines([("adapter", ", ".join(map(str, files)))])
    return files


def adapter_files_of(store: "Store", dataset: str | None, adapters: Sequence[str] | None) -> list[Path]:
    """``adapter_files`` of a dataset by its name, which is loaded only if it decides."""
    found = None if adapters or dataset is None else _find(store, dataset, DatasetArguments())
    return adapter_files(store, found, adapters)


def command_on(
    name: str, source: DatasetArguments, dataset: "Dataset", adapters: Sequence[str] | None, files: Sequence[Path]
) -> list[str]:
    """The argv of ``ear NAME`` on ``dataset`` and on the adapters in ``files``, which it names even if the user left
    them out: the last ones may be others by then."""
    from ear.method.runs import adapter_name

    given = replace(source, dataset=source.dataset or f"ecgvf/{dataset.concept.name}")
    named = [word for adapter in adapters or map(adapter_name, files) for word in ("--adapter", adapter)]
    return ["ear", name, *to_argv(given), *named]


def in_store(store: "Store", file: Path) -> bool:
    """Whether ``file`` is in the store."""
    from ecgvf.core.files import is_remote

    return not is_remote(store.root) and file.absolute().is_relative_to(store.root.absolute())


def results_folder(store: "Store", concept: str, files: Sequence[Path]) -> Path:
    """Where results about the adapter ``files`` are written: beside the last if the store has it, else in a new folder
    of the store, or of the current folder if the store is on object storage.

    A folder of the Hub's cache, or a whole model's, stays as it is.
    """
    from ear.method.open_adapter import files_hash
    from ear.method.oracle import MODEL_FILE
    from ear.method.runs import STAGE
    from ecgvf.core.files import is_remote

    if in_store(store, files[-1]) and files[-1].name != MODEL_FILE:
        return files[-1].parent
    name = f"measured-{files_hash(files)[:8]}"
    if is_remote(store.root):
        return Path(name)
    store.create()
    return store.folder(concept, STAGE.name) / name


def print_lines(lines: Sequence[tuple[str, str]]) -> None:
    """Print (label, text) lines in two columns."""
    for label, text in lines:
        console.print(f"[dim]{label:>10}[/dim]  {console.escape(text)}")


def _find(store: "Store", name: str, arguments: DatasetArguments) -> "Dataset":
    from ear.dataset import find_dataset

    dataset, location = find_dataset(
        store, name, arguments.set_id, model=arguments.model, device=arguments.device, dtype=arguments.dtype
    )
    print_lines([("dataset", location)])
    return dataset


def _dataset_name(store: "Store", arguments: DatasetArguments) -> str:
    if arguments.dataset is not None:
        return arguments.dataset
    return f"ecgvf/{store.last_concept('name a dataset, such as --dataset ecgvf/church')}"
