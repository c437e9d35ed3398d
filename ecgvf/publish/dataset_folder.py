"""A published dataset read back: an exported folder, one of its Parquet files, or a download from the Hub."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ecgvf.core import openings
from ecgvf.core.concepts import parse
from ecgvf.core.dataset import AcceptedRecord, Dataset
from ecgvf.core.errors import DatasetError, SettingsError, first_line
from ecgvf.core.files import JSON
from ecgvf.core.paths import data_dir
from ecgvf.core.records import SPLITS, PromptPair, Rendering, Role
from ecgvf.core.sampling import Sampling
from ecgvf.core.validation import first_error
from ecgvf.publish import catalogue
from ecgvf.publish.catalogue import KEY, Catalogue

_COLUMNS = frozenset({"record_id", "target", "surrogate", "target_vq_ids", "surrogate_vq_ids", "seed", "renderer"})
"""What a file of accepted records has, besides what ``_PAIR`` checks."""

_DECISIVE = (
    *("record_id", "split", "target", "surrogate", "target_term", "surrogate_term", "wording", "retained_concept"),
    *("seed", "target_vq_ids", "surrogate_vq_ids"),
)
"""The columns that decide what is trained or measured: the fingerprint is a hash of them."""

_NOT_OURS = "it was edited, or written by a newer version of ecgvf"

_PAIR, _RENDERING = TypeAdapter(PromptPair), TypeAdapter(Rendering)

T = TypeVar("T", PromptPair, Rendering)


class _RunFacts(BaseModel):
    """What the rows of a file have in common (``rows.metadata``). What a newer version adds is ignored."""

    model_config = ConfigDict(frozen=True)

    concept: dict[str, Any]
    model: str
    renderer: str
    sampling: dict[str, int | float]
    run_seed: int
    judge: str
    judge_options: dict[str, Any] = {}
    retained: bool = False


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """A folder as ``export`` writes it, or as the Hub's cache has it."""

    folder: Path
    where: str
    """Its name in messages."""

    def catalogue(self) -> Catalogue:
        """Its ``ecgvf.json``. Raises ``DatasetError`` if ``ecgvf`` did not write the folder."""
        file = self.folder / catalogue.FILE
        if not file.is_file():
            raise DatasetError(f"{self.where} has no {catalogue.FILE}: it was not published by `ecgvf`")
        return Catalogue.parse(file.read_bytes(), f"{self.where}/{catalogue.FILE}")

    def rows(self, config: str, columns: Sequence[str]) -> Iterator[JSON]:
        """The rows of all splits of ``config``, with their ``split``; columns that a file lacks are left out."""
        for split in SPLITS:
            for file in sorted((self.folder / config).glob(f"{split}-*.parquet")):
                parquet = _open_parquet(file)
                present = [name for name in columns if name in parquet.schema_arrow.names]
                for batch in _batches(parquet, file, present):
                    yield from ({**row, "split": split} for row in batch)

    def dataset(self, concept: str | None = None) -> Dataset:
        """The accepted records of ``concept`` (None: the default configuration's). Raises ``DatasetError``."""
        concepts = self.catalogue().concepts
        names = ", ".join(concepts) or "nothing"
        if concept is None and (concept := self._default_concept()) is None:
            raise DatasetError(f"{self.where} has {names}: name one as …/CONCEPT")
        files = sorted((self.folder / concept).glob("*.parquet")) if concept in concepts else []
        if not files:
            raise DatasetError(f"{self.where} has no {concept!r}: it has {names}")
        return read_dataset(files, self.where)

    def _default_concept(self) -> str | None:
        from ecgvf.publish.front_matter import default_config, parse_card

        readme = self.folder / "README.md"
        try:
            return default_config(parse_card(readme.read_text(encoding="utf-8"))[0]) if readme.is_file() else None
        except UnicodeDecodeError as error:
            raise DatasetError(f"{readme} is not UTF-8 text: correct it, or name a concept as …/CONCEPT") from error


def shipped_dataset(concept: str) -> DatasetFolder | None:
    """The dataset of ``concept`` shipped with the package, if there is one."""
    folder = data_dir() / "datasets" / concept
    return DatasetFolder(folder, str(folder)) if (folder / catalogue.FILE).is_file() else None


def is_dataset_file(file: Path) -> bool:
    """Whether ``file`` is a Parquet file that ``ecgvf`` published."""
    return file.suffix == ".parquet" and _metadata(file) is not None


def read_dataset(files: Sequence[Path], where: str) -> Dataset:
    """The accepted records in Parquet files of one concept, without their images. Raises ``DatasetError``."""
    metadata = {_metadata(file) for file in files}
    common = metadata.pop()
    if metadata or common is None:
        raise DatasetError(f"the files of {where} are not of one run of `ecgvf`: export or download them again")
    run, sampling = _run_facts(common, where)
    records, digest = [], hashlib.sha256(common)
    for file in files:
        parquet = _open_parquet(file)
        if "reason" in parquet.schema_arrow.names:
            raise DatasetError(f"{file} holds rejected records: name the config without '-rejected'")
        columns = [name for name in parquet.schema_arrow.names if not name.endswith("_image")]
        if missing := sorted(_COLUMNS.difference(columns)):
            raise DatasetError(f"{file} has no column {missing[0]!r}: {_NOT_OURS}")
        for batch in _batches(parquet, file, columns):
            for row in batch:
                digest.update(json.dumps([row.get(name) for name in _DECISIVE]).encode())
                records.append(_accepted_record(row, file))
    records.sort(key=lambda record: record.pair.record_id)
    return Dataset(
        concept=parse(run.concept, where),
        model=run.model,
        renderer=run.renderer,
        sampling=sampling,
        run_seed=run.run_seed,
        judge=run.judge,
        judge_options=run.judge_options,
        fingerprint=digest.hexdigest()[:12],
        train=tuple(record for record in records if record.pair.split == "train"),
        validation=tuple(record for record in records if record.pair.split == "validation"),
        test=tuple(record for record in records if record.pair.split == "test"),
        retain=tuple(record for record in records if record.pair.split == "retain") if run.retained else None,
        rejected=_rejected(files[0].parent),
        openings=tuple(openings.merge(*map(read_openings, {file.parent for file in files}))),
    )


def read_openings(folder: Path) -> list[openings.Opening]:
    """The openings of the test split that were published in the folder of a config."""
    file = folder / openings.FILE
    return openings.parse(file.read_bytes()) if file.is_file() else []


def _rejected(folder: Path) -> tuple[PromptPair, ...] | None:
    """The rejected records beside the config in ``folder``; None if they were not downloaded, or not exported."""
    files = sorted(folder.with_name(catalogue.rejected_config(folder.name)).glob("*.parquet"))
    columns = [name for name in PromptPair.SCHEMA.names if name != "seed"]
    rejected = [
        _checked(_PAIR, {**row, "seed": None}, file)
        for file in files
        for batch in _batches(_open_parquet(file), file, columns)  # a column that it lacks is left out
        for row in batch
    ]
    return tuple(sorted(rejected, key=lambda pair: pair.record_id)) if files else None


def _run_facts(text: bytes, where: str) -> tuple[_RunFacts, Sampling]:
    try:
        run = _RunFacts.model_validate_json(text)
        return run, Sampling(**run.sampling)  # type: ignore[arg-type]
    except ValidationError as error:
        raise DatasetError(f"{where}: {first_error(error, 'metadata')}; {_NOT_OURS}") from error
    except (TypeError, SettingsError) as error:
        raise DatasetError(f"{where}: sampling: {first_line(error)}; {_NOT_OURS}") from error


def _checked(kind: TypeAdapter[T], row: JSON, file: Path) -> T:
    try:
        return kind.validate_python(row)
    except ValidationError as error:
        record = str(row.get("record_id"))[:20]
        raise DatasetError(f"{file}: record {record}: {first_error(error)}; {_NOT_OURS}") from error


def _accepted_record(row: JSON, file: Path) -> AcceptedRecord:
    split = row.get("split") or ("test" if row["surrogate"] is None else "train")  # older rows do not state it
    pair = _checked(_PAIR, {**row, "seed": None, "split": split}, file)
    # Without any image tokens, whoever reads the dataset has left them out.
    rendered = row["surrogate_vq_ids"] is not None or (row["target_vq_ids"] is None and row["surrogate"] is not None)
    surrogate = _rendering(row, "surrogate", file) if rendered else None
    return AcceptedRecord(pair, _rendering(row, "target", file), surrogate)


def _rendering(row: JSON, role: Role, file: Path) -> Rendering:
    fields = {
        "record_id": row["record_id"],
        "role": role,
        "seed": row["seed"],
        "renderer": row["renderer"],
        "prompt_sent": row[role],
        "image": b"",
        "vq_ids": row[f"{role}_vq_ids"] or (),
    }
    return _checked(_RENDERING, fields, file)


def _metadata(file: Path) -> bytes | None:
    """What ``rows.metadata`` put into ``file``, if it is one of ours."""
    metadata: dict[bytes, bytes] = _open_parquet(file).schema_arrow.metadata or {}
    return metadata.get(KEY)


def _open_parquet(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except FileNotFoundError:
        raise DatasetError(f"there is no file {file}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{file} is not a Parquet file, or it is cut off: download or export it again") from error


def _batches(parquet: pq.ParquetFile, file: Path, columns: Sequence[str]) -> Iterator[list[JSON]]:
    """The rows of ``file``, some at a time. Raises ``DatasetError`` if it is damaged."""
    try:
        for batch in parquet.iter_batches(columns=columns):
            yield batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DatasetError(f"{file} is damaged: download or export it again") from error
