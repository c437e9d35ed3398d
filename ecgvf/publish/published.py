"""A published dataset read back: from an exported folder, one of its Parquet files, or a repository on the Hub."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecgvf.core.concepts import parse
from ecgvf.core.dataset import AcceptedRecord, Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.paths import data_dir
from ecgvf.core.records import PromptPair, Rendering, Role
from ecgvf.publish import card
from ecgvf.publish import catalogue as catalogues
from ecgvf.publish.catalogue import KEY, Catalogue

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Published:
    """A folder as ``export`` writes it, or as the Hub's cache holds it."""

    folder: Path
    where: str
    """In words, for people."""

    def catalogue(self) -> Catalogue:
        """What it holds. Raises ``DatasetError`` for a folder that ``ecgvf`` did not write."""
        file = self.folder / catalogues.FILE
        if not file.is_file():
            raise DatasetError(f"{self.where} holds no {catalogues.FILE}: it was not published by `ecgvf`")
        return catalogues.read(file.read_bytes(), f"{self.where}/{catalogues.FILE}")

    def rows(self, config: str, columns: Sequence[str]) -> Iterator[JSON]:
        """The rows of all splits of ``config``, with a ``split`` added; columns that a file lacks are left out."""
        for split in ("train", "test"):
            for file in sorted((self.folder / config).glob(f"{split}-*.parquet")):
                parquet = _opened(file)
                known = [name for name in columns if name in parquet.schema_arrow.names]
                for batch in parquet.iter_batches(columns=known):
                    yield from ({**row, "split": split} for row in batch.to_pylist())

    def dataset(self, concept: str | None = None) -> Dataset:
        """The accepted records of ``concept`` (None: the default configuration's). Raises ``DatasetError``."""
        held = self.catalogue().concepts
        if concept is None:
            readme = self.folder / "README.md"
            concept = card.default_config(readme.read_text(encoding="utf-8")) if readme.is_file() else None
            if concept is None:
                raise DatasetError(f"{self.where} holds {', '.join(held) or 'nothing'}: name one as …/CONCEPT")
        files = sorted((self.folder / concept).glob("*.parquet")) if concept in held else []
        if not files:
            raise DatasetError(f"{self.where} has no {concept!r}: it holds {', '.join(held) or 'nothing'}")
        return dataset_of(files, self.where)


def shipped(concept: str) -> Published | None:
    """The dataset of ``concept`` that travels with the package, if there is one."""
    folder = data_dir() / "datasets" / concept
    return Published(folder, str(folder)) if (folder / catalogues.FILE).is_file() else None


def is_published(file: Path) -> bool:
    """Whether ``file`` is a Parquet file of ours: it says of itself what its rows have in common."""
    return file.suffix == ".parquet" and KEY in (_opened(file).schema_arrow.metadata or {})


def dataset_of(files: Sequence[Path], where: str) -> Dataset:
    """The accepted records in Parquet files of one concept, without their pictures. Raises ``DatasetError``."""
    abouts = {(_opened(file).schema_arrow.metadata or {}).get(KEY) for file in files}
    about = abouts.pop()
    if abouts or about is None:
        raise DatasetError(f"the files of {where} are not of one run of `ecgvf`: export or download them again")
    said = json.loads(about)
    accepted, digest = [], hashlib.sha256(about)
    for file in files:
        parquet = _opened(file)
        if "reason" in parquet.schema_arrow.names:
            raise DatasetError(f"{file} holds rejected records: name the config without '-rejected'")
        columns = [name for name in parquet.schema_arrow.names if not name.endswith("_image")]
        for batch in parquet.iter_batches(columns=columns):
            for row in batch.to_pylist():
                digest.update(json.dumps([row["record_id"], row["target_vq_ids"], row["surrogate_vq_ids"]]).encode())
                accepted.append(_accepted(row))
    accepted.sort(key=lambda one: one.pair.record_id)
    return Dataset(
        concept=parse(said["concept"], where),
        model=said["model"],
        renderer=said["renderer"],
        sampling=said["sampling"],
        run_seed=said["run_seed"],
        judge=said["judge"],
        judge_options=said.get("judge_options", {}),
        fingerprint=digest.hexdigest()[:12],
        train=tuple(one for one in accepted if one.pair.split == "train"),
        test=tuple(one for one in accepted if one.pair.split == "test"),
    )


def _accepted(row: JSON) -> AcceptedRecord:
    pair = PromptPair.from_row({**row, "seed": None, "split": "test" if row["surrogate"] is None else "train"})
    target = _rendering(row, "target")
    assert target is not None  # an accepted record has a picture
    return AcceptedRecord(pair=pair, target=target, surrogate=_rendering(row, "surrogate"))


def _rendering(row: JSON, role: Role) -> Rendering | None:
    ids = row[f"{role}_vq_ids"]
    if ids is None:
        return None
    return Rendering(
        record_id=row["record_id"],
        role=role,
        seed=row["seed"],
        renderer=row["renderer"],
        prompt_sent=row[role],
        image=b"",
        vq_ids=tuple(ids),
    )


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except FileNotFoundError:
        raise DatasetError(f"there is no file {file}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{file} is no Parquet file, or it is cut off: download or export it again") from error


NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<concept>[\w.-]+))?(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, slots=True)
class HubName:
    """``[hub:]OWNER/REPO[/CONCEPT][@vX.Y.Z]``, taken apart."""

    repo: str
    concept: str | None
    revision: str | None

    def __str__(self) -> str:
        return self.repo + (f"/{self.concept}" if self.concept else "") + (f"@{self.revision}" if self.revision else "")


def hub_name(text: str) -> HubName:
    """The Hub's name in ``text``. Raises ``DatasetError`` for what cannot be one."""
    found = NAME.fullmatch(text.removeprefix("hub:"))
    if found is None or ".." in text:
        raise DatasetError(f"{text!r} names nothing on the Hub: write OWNER/REPO, OWNER/REPO/CONCEPT or …@v1.0.0")
    return HubName(found["repo"], found["concept"], found["revision"])
