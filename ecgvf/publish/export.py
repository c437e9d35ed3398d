"""A run as a folder that ``datasets`` loads without code of ours.

OUT/
  README.md                     the card
  ecgvf.json                    facts of the run, read by `ecgvf diff` and the next push
  croissant.json                the same dataset in ML Croissant
  assets/church.png             a contact sheet
  church/train-00000-of-00001.parquet   accepted pairs; validation-…, test-…
  church/test_openings.jsonl    who measured on the test split, if anybody did
  church-rejected/…             the rejected ones, with their reasons
"""

import glob
import secrets
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from ecgvf.core import openings
from ecgvf.core.contact_sheet import MAX_PAIRS, PairImages, pairs_sheet
from ecgvf.core.errors import DatasetError
from ecgvf.core.files import write_atomic
from ecgvf.core.run import ConceptRun
from ecgvf.publish import catalogue, rows
from ecgvf.publish.catalogue import Catalogue
from ecgvf.publish.dataset_folder import read_openings
from ecgvf.publish.finished_run import open_finished_run
from ecgvf.publish.parquet import DatasetFiles, write_parquet


def export(run: ConceptRun, out: Path, *, images: bool = True, set_id: str | None = None) -> DatasetFiles:
    """Write the dataset of ``run`` to the folder ``out``; ``set_id`` is the start of an acceptance set's fingerprint.

    An earlier export is replaced as a whole, except for what people wrote into its card. Raises ``DatasetError`` for a
    folder with other files and for the current folder, which would be replaced as well, and as ``open_finished_run``
    does.
    """
    from ecgvf.publish import croissant
    from ecgvf.publish.card import write_card

    finished = open_finished_run(run, set_id)
    out = out.resolve()
    name = finished.concept.name
    _restore_earlier(out)
    card, previous = _earlier_export(out, name)
    unique = f"{out.name}.{secrets.token_hex(4)}"  # machines that share a folder share process ids
    new, earlier = out.with_name(f"{unique}.tmp"), out.with_name(f"{unique}.earlier")
    try:
        files = write_parquet(finished, new, images=images).with_openings(read_openings(out / name))
        exported = Catalogue().with_concept(name, files.facts)
        for path, data in assets(files).items():
            write_atomic(new / path, data)
        write_atomic(new / catalogue.FILE, exported.text().encode())
        write_atomic(new / "README.md", write_card(exported, before=card, previous=previous).encode())
        write_atomic(new / croissant.FILE, croissant.describe(exported, new).encode())
        # After a kill between the two, the next export finds what people wrote into the card in `earlier`.
        if out.exists():
            out.rename(earlier)
        new.rename(out)
        shutil.rmtree(earlier, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return replace(files, folder=out)


def assets(files: DatasetFiles) -> dict[str, bytes]:
    """Path → content of the files beside the rows: the openings of the test split, and a contact sheet for the card if
    the dataset has images."""
    name = files.run.concept.name
    opened = {f"{name}/{openings.FILE}": openings.text(files.openings)} if files.openings else {}
    if not files.facts.images:
        return opened
    first = files.folder / files.facts.configs[0].splits[0].files[0]  # of a run with an accepted pair
    batch = next(pq.ParquetFile(first).iter_batches(MAX_PAIRS, columns=["target", "surrogate", *rows.IMAGES]))
    pairs = [
        PairImages(row["target"], row["surrogate"], row["target_image"]["bytes"], row["surrogate_image"]["bytes"])
        for row in batch.to_pylist()
    ]
    concept = files.run.concept
    return opened | {f"assets/{name}.png": pairs_sheet(pairs, blurred=concept.unsafe)}


def _restore_earlier(out: Path) -> None:
    """Make the earlier export ``out`` again, if an export was killed after moving it aside."""
    if not out.exists():
        pattern = f"{glob.escape(out.name)}.{'[0-9a-f]' * 8}.earlier/{catalogue.FILE}"
        folders = [file.parent for file in out.parent.glob(pattern)]
        if folders:
            # Of several, the others are exports that were being deleted.
            max(folders, key=lambda folder: folder.stat().st_ctime).rename(out)


def _earlier_export(out: Path, concept: str) -> tuple[str | None, Catalogue | None]:
    """Card and catalogue of an earlier export in ``out``. Raises ``DatasetError`` if ``out`` is something else."""
    if Path.cwd().is_relative_to(out):
        raise DatasetError(f"{out} is the current folder, or contains it: name a new folder with --out")
    if any(path.is_file() for path in (out, *out.parents)):
        raise DatasetError(f"{out} is a file, or in one: name a new folder with --out")
    if not out.exists() or not any(out.iterdir()):
        return None, None
    file, readme = out / catalogue.FILE, out / "README.md"
    if not file.is_file():
        raise DatasetError(f"{out} exists and is not an earlier export: name a new folder with --out")
    try:
        previous = Catalogue.parse(file.read_bytes(), str(file))
        card = readme.read_text(encoding="utf-8") if readme.is_file() else None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{readme} is not UTF-8 text: correct it, or name a new folder") from error
    if others := sorted(previous.concepts.keys() - {concept}):
        raise DatasetError(f"{out} is the export of {others[0]!r}: name a new folder with --out")
    configs = {config.name for facts in previous.concepts.values() for config in facts.configs}
    foreign = sorted(
        {path.name for path in out.iterdir()} - {readme.name, file.name, "croissant.json", "assets", *configs}
    )
    if foreign:
        raise DatasetError(f"{out} has {foreign[0]!r}, which no export wrote: move it, or name a new folder")
    return card, previous
