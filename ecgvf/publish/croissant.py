"""The exported dataset in ML Croissant, the metadata format of dataset search engines and loaders.

Only ``export`` writes it: the Hub makes its own for Parquet.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import mlcroissant as mlc
from datasets import Image, List, Value

from ecgvf.core.errors import DatasetError, first_line
from ecgvf.publish.card import CITATION, SUMMARY
from ecgvf.publish.catalogue import Catalogue, ConceptFacts, ConfigFacts
from ecgvf.publish.front_matter import PAPER, licence_url, parse_card
from ecgvf.publish.rows import features

FILE = "croissant.json"

_TYPES = {
    "string": mlc.DataType.TEXT,
    "bool": mlc.DataType.BOOL,
    "uint16": mlc.DataType.UINT16,
    "int32": mlc.DataType.INT32,
    "int64": mlc.DataType.INT64,
    "float32": mlc.DataType.FLOAT32,
    "float64": mlc.DataType.FLOAT64,
}


def describe(catalogue: Catalogue, folder: Path) -> str:
    """The JSON-LD of the dataset in ``folder``, which has its card. Raises ``DatasetError`` if it is not valid."""
    record_sets = [
        _record_set(facts, config, split.name)
        for facts in catalogue.concepts.values()
        for config in facts.configs
        for split in config.splits
    ]
    dates = [facts.dates for facts in catalogue.concepts.values()]
    days = [day for made in dates for day in (*made["pairs"], *made["pictures"], *made["verdicts"])]
    fields, _ = parse_card((folder / "README.md").read_text(encoding="utf-8"))
    with _quiet():
        try:
            metadata = mlc.Metadata(
                name="-".join(["ecgvf", *catalogue.concepts]),
                description=SUMMARY,
                license=[licence_url(fields)],
                url=PAPER,
                cite_as=CITATION,
                version=catalogue.versions[-1].version if catalogue.versions else "1.0.0",
                date_published=datetime.fromisoformat(max(days)),
                distribution=[files for files, _ in record_sets],
                record_sets=[record_set for _, record_set in record_sets],
            )
            content = metadata.to_json()
            # Reading it validates it.
            mlc.Dataset(jsonld=json.loads(json.dumps(content, default=_to_text)))
        except (mlc.ValidationError, ValueError) as error:
            raise DatasetError(f"the Croissant of {folder} is not valid: {first_line(error)}") from error
    return json.dumps(content, indent=2, ensure_ascii=False, default=_to_text) + "\n"


def _record_set(facts: ConceptFacts, config: ConfigFacts, split: str) -> tuple[mlc.FileSet, mlc.RecordSet]:
    name = f"{config.name}/{split}"
    files = mlc.FileSet(
        id=f"files:{name}",
        name=f"files:{name}",
        description=f"Parquet files of {name}.",
        encoding_formats=["application/x-parquet"],
        includes=[f"{config.name}/{split}-*.parquet"],
    )
    fields = [
        _field(files.id, name, column, kind)
        for column, kind in features(
            images=facts.images, rejected=config.rejected, retained="retain" in facts.counts
        ).items()
    ]
    return files, mlc.RecordSet(id=name, name=name, key=[f"{name}/record_id"], fields=fields)


def _field(files: str, records: str, column: str, kind: Any) -> mlc.Field:
    def source(*transforms: mlc.Transform) -> mlc.Source:
        return mlc.Source(file_set=files, extract=mlc.Extract(column=column), transforms=list(transforms))

    name, repeated = f"{records}/{column}", isinstance(kind, List)
    parts = kind.feature if repeated else kind
    match parts:
        case Image():
            png = source(mlc.Transform(json_path="bytes"))
            return mlc.Field(id=name, name=column, source=png, data_types=[mlc.DataType.IMAGE_OBJECT])
        case Value():
            types = [_TYPES[parts.dtype]]
            return mlc.Field(id=name, name=column, source=source(), repeated=repeated or None, data_types=types)
    return mlc.Field(
        id=name,
        name=column,
        repeated=repeated,
        sub_fields=[
            mlc.Field(
                id=f"{name}/{part}",
                name=part,
                data_types=[_TYPES[value.dtype]],
                source=source(mlc.Transform(json_path=part)),
            )
            for part, value in parts.items()
        ],
    )


def _to_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence mlcroissant, which logs recommendations through absl."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from its use of rdflib
            yield
    finally:
        logger.setLevel(level)
