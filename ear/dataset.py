"""A dataset by name: of this store, shipped, in a file, or on the Hub. What was found is said in words.

ecgvf/CONCEPT                        this store; where it has none, the dataset that travels with the package
FILE, FOLDER                         an export, one of its Parquet files, or somebody's prompts (drawn and judged first)
[hub:]OWNER/REPO/CONCEPT[@vX.Y.Z]    the Hub; hub:OWNER/REPO is a repository's default configuration
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ecgvf.core import concepts, console
from ecgvf.core.concepts import NAME
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, SettingsError, StageMissing
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE
from ecgvf.core.store import Store
from ecgvf.filter.dataset import load_dataset
from ecgvf.publish import published
from ecgvf.publish.published import Published

if TYPE_CHECKING:
    from ecgvf.pairs.tables import PromptTable

STORE, HUB = "ecgvf/", "hub:"

FORMS = (
    "name one as ecgvf/CONCEPT (such as ecgvf/church), a file, or OWNER/REPO/CONCEPT@v1.0.0 on the Hub "
    "(hub:OWNER/REPO: its default configuration)"
)

_ENDINGS = {".parquet", ".csv", ".tsv", ".json", ".jsonl", ".ndjson"}


@dataclass(frozen=True, slots=True)
class Found:
    """A dataset, and where it was found."""

    dataset: Dataset
    where: str


def find(
    store: Store, name: str, chosen: str | None = None, *, model: str | None = None, device: str = "auto"
) -> Found:
    """The dataset that ``name`` means. ``chosen`` is the start of an acceptance set's fingerprint, of this store alone.

    ``model`` and ``device`` draw what a file of prompts has no pictures of. Raises ``DatasetError`` for names and files
    that are none, ``HubError``, ``StageMissing`` where store and package have no such dataset.
    """
    if name.startswith(STORE):
        return _of_store(store, _concept(name), chosen)
    if chosen is not None:
        raise SettingsError(f"--set {chosen} picks a set of this store, and {name} is none: leave it out")
    if not name.startswith(HUB) and Path(name).exists():
        return _of_file(store, Path(name), model, device)
    if not name.startswith(HUB) and Path(name).suffix.lower() in _ENDINGS:
        raise DatasetError(f"there is no file {name}")
    if not name.startswith(HUB) and name.count("/") != 2:
        raise DatasetError(f"unknown dataset {name!r}: {FORMS}")
    return _of_hub(store, name, model, device)


def concept_of(store: Store, name: str) -> str:
    """The concept of the dataset ``name``, found without loading it where the name says it."""
    if name.startswith(STORE):
        return _concept(name)
    if Path(name).exists() or (concept := published.hub_name(name).concept) is None:
        return find(store, name).dataset.concept.name
    return concept


def _concept(name: str) -> str:
    concept = name.removeprefix(STORE)
    if not NAME.fullmatch(concept):
        raise DatasetError(f"unknown dataset {name!r}: {FORMS}; for an account named ecgvf write {HUB}{name}")
    return concept


def _of_store(store: Store, concept: str, chosen: str | None) -> Found:
    shipped = published.shipped(concept)
    if chosen is None and shipped is not None and not (store.folder(concept, ACCEPTANCE.name) / "current").is_file():
        return Found(shipped.dataset(concept), f"{STORE}{concept}, shipped in {shipped.folder}")
    try:
        dataset = load_dataset(ConceptRun.load(store, concept), chosen)
    except StageMissing as error:
        raise StageMissing(f"{error}; for one on the Hub write {HUB}OWNER/REPO/{concept}") from error
    return Found(dataset, f"{STORE}{concept}, set {dataset.fingerprint} of {store.root}")


def _of_file(store: Store, file: Path, model: str | None, device: str) -> Found:
    from ecgvf.pairs import tables

    if file.is_dir() and (file / "ecgvf.json").is_file():
        return Found(Published(file, str(file)).dataset(), str(file))
    if file.is_file() and published.is_published(file):
        return Found(published.dataset_of([file], str(file)), str(file))
    return _drawn(store, tables.read_table(file), str(file), model, device)


def _of_hub(store: Store, text: str, model: str | None, device: str) -> Found:
    from ecgvf.publish import hub

    name = published.hub_name(text)
    held = hub.download(name)
    if (held.folder / "ecgvf.json").is_file():
        return Found(held.dataset(name.concept), held.where)
    return _drawn(store, hub.foreign(name), f"{HUB}{name}", model, device)


def _drawn(store: Store, source: "PromptTable", where: str, model: str | None, device: str) -> Found:
    """Somebody's prompts: taken into the store, drawn and judged, and then like any other dataset of the store."""
    from ecgvf.filter import filter_images
    from ecgvf.pairs.importing import import_pairs, named_concept
    from ecgvf.render import render

    named = named_concept(source)
    if named is None or named not in {*concepts.names(), *store.concepts()}:
        said = "does not say of which concept" if named is None else f"names a concept that is not known, {named!r}"
        raise DatasetError(
            f"{where} has prompts and no pictures, and {said}: run `ecgvf import {where} --concept NAME` (or a YAML of "
            "your own, by `ecgvf concepts new`), then `ecgvf filter`, and name the dataset ecgvf/NAME"
        )
    concept = store.concept(named) if named in store.concepts() else concepts.find(named)
    run = ConceptRun(store, concept)
    imported = import_pairs(run, source)
    console.print(f"Took the prompts of {console.escape(where)} into {console.escape(str(imported.stage.path))}.")
    if model is not None:
        render(run, model=model, device=device)
    filter_images(run, device=device)
    dataset = load_dataset(run)
    return Found(dataset, f"{where}, drawn and judged as set {dataset.fingerprint} of {store.root}")
