"""A dataset by its name: from the store, shipped, from a file, or from the Hub.

ecgvf/CONCEPT                        this store's, else the dataset shipped with the package
FILE, FOLDER                         an export, one of its Parquet files, or prompts, which are rendered and filtered
[hub:]OWNER/REPO/CONCEPT[@vX.Y.Z]    the Hub's; hub:OWNER/REPO is a repository's default configuration
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ecgvf.core import concepts, console
from ecgvf.core.concepts import NAME
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, SettingsError, StageMissing
from ecgvf.core.hub import HubName
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE
from ecgvf.core.store import Store
from ecgvf.filter.dataset import load_dataset
from ecgvf.publish.dataset_folder import DatasetFolder, is_dataset_file, read_dataset, shipped_dataset

if TYPE_CHECKING:
    from ecgvf.pairs.tables import PromptTable

STORE, HUB = "ecgvf/", "hub:"

FORMS = (
    "write ecgvf/CONCEPT (such as ecgvf/church), a file, a folder of `ecgvf export`, or OWNER/REPO/CONCEPT@v1.0.0 on "
    "the Hub (hub:OWNER/REPO: its default configuration)"
)

_ON_HUB = re.compile(r"\w[\w.-]*/[^/]+/[^/]+")

_SUFFIXES = {".parquet", ".csv", ".tsv", ".json", ".jsonl", ".ndjson"}


def find_dataset(
    store: Store,
    name: str,
    set_id: str | None = None,
    *,
    model: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> tuple[Dataset, str]:
    """The dataset called ``name``, without its images, and where it was found, for people.

    ``set_id`` is the start of an acceptance set's fingerprint, for datasets of this store. A file of prompts is
    rendered by ``model`` (None: the model of its earlier images in this store, else Janus-nano) on ``device``, in
    ``dtype`` ("auto": that of its earlier images, if ``model`` is None). Raises ``DatasetError`` for an unknown name or
    an unreadable file, ``HubError``, ``SettingsError`` for a ``set_id`` elsewhere, and ``StageMissing`` if neither the
    store nor the package has the dataset.
    """
    if name.startswith(STORE):
        return _from_store(store, _concept(name), set_id)
    if set_id is not None:
        raise SettingsError(f"--set {set_id} selects a set of this store, and {name} is not in it: omit --set")
    if name.startswith(HUB):
        return _from_hub(store, name, model, device, dtype)
    if name and Path(name).exists():
        return _from_file(store, Path(name), model, device, dtype)
    if Path(name).suffix.lower() in _SUFFIXES:
        raise DatasetError(f"there is no file {name}")
    if not _ON_HUB.fullmatch(name):
        raise DatasetError(f"there is no dataset, folder or file {name!r}: {FORMS}")
    return _from_hub(store, name, model, device, dtype)


def has_dataset(store: Store, concept: str) -> bool:
    """Whether ecgvf/``concept`` is a dataset: of ``store``, or shipped."""
    if not NAME.fullmatch(concept):
        return False
    return (store.folder(concept, ACCEPTANCE.name) / "current").is_file() or shipped_dataset(concept) is not None


def _concept(name: str) -> str:
    concept = name.removeprefix(STORE)
    if not NAME.fullmatch(concept):
        raise DatasetError(f"unknown dataset {name!r}: {FORMS}; for a Hub account called ecgvf write {HUB}{name}")
    return concept


def _from_store(store: Store, concept: str, set_id: str | None) -> tuple[Dataset, str]:
    shipped = shipped_dataset(concept)
    if set_id is None and shipped is not None and not (store.folder(concept, ACCEPTANCE.name) / "current").is_file():
        return shipped.dataset(concept), f"{STORE}{concept}, shipped in {shipped.folder}"
    try:
        dataset = load_dataset(ConceptRun(store, store.concept(concept)), set_id, images=False)
    except StageMissing as error:
        if concept in store.concepts():
            raise
        raise StageMissing(f"{error}; for a dataset on the Hub write {HUB}OWNER/REPO/{concept}") from error
    return dataset, f"{STORE}{concept}, set {dataset.fingerprint} of {store.root}"


def _from_file(store: Store, file: Path, model: str | None, device: str, dtype: str) -> tuple[Dataset, str]:
    from ecgvf.pairs.tables import read_table

    if file.is_dir() and (file / "ecgvf.json").is_file():
        return DatasetFolder(file, str(file)).dataset(), str(file)
    if file.is_dir() and not (file / "malicious.csv").is_file():  # one of Six-CD's files
        raise DatasetError(f"the folder {file} is no dataset, as it has no ecgvf.json: {FORMS}")
    if file.is_file() and is_dataset_file(file):
        return read_dataset([file], str(file)), str(file)
    return _from_prompts(store, read_table(file), str(file), model, device, dtype)


def _from_hub(store: Store, text: str, model: str | None, device: str, dtype: str) -> tuple[Dataset, str]:
    from ecgvf.pairs.hub_table import read_hub_table
    from ecgvf.publish.repository import download

    name = HubName.parse(text)
    repository = download(name)
    if (repository.folder / "ecgvf.json").is_file():
        return repository.dataset(name.concept), repository.where
    return _from_prompts(store, read_hub_table(name), f"{HUB}{name}", model, device, dtype)


def _from_prompts(
    store: Store, source: "PromptTable", location: str, model: str | None, device: str, dtype: str
) -> tuple[Dataset, str]:
    """Import prompts into the store, render and filter them, so that they are like any other dataset of the store."""
    from ecgvf.filter import filter_images
    from ecgvf.pairs.importing import import_pairs, named_concept
    from ecgvf.render import RenderOptions, existing_images, missing_options, render

    concept = named_concept(source)
    if concept is None or concept not in {*concepts.names(), *store.concepts()}:
        problem = "does not name one concept" if concept is None else f"names an unknown concept, {concept!r}"
        raise DatasetError(
            f"{location} has prompts but no images, and {problem}: run `ecgvf import {location} --concept NAME` (or a "
            "YAML file, see `ecgvf concepts new`) and `ecgvf filter`, then use the dataset ecgvf/NAME"
        )
    run = ConceptRun(store, store.concept(concept) if concept in store.concepts() else concepts.find(concept))
    imported = import_pairs(run, source)
    console.print(
        f"Imported the prompts of {console.escape(location)} into {console.escape(str(imported.stage.path))}."
    )
    imported.report()
    images = existing_images(run)
    if model is not None:
        render(run, RenderOptions(model=model, device=device, dtype=dtype))
    elif dtype != "auto" and (images is None or images.settings["dtype"] != dtype):
        render(run, replace(missing_options(run, device=device), dtype=dtype, further_seed=0))
    filter_images(run, device=device)
    dataset = load_dataset(run, images=False)
    return dataset, f"{location}, rendered and filtered as set {dataset.fingerprint} of {store.root}"
