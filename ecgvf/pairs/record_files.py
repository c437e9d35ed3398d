"""Read a file of other people as records: text, CSV, TSV, JSON, JSONL, Parquet, or a folder of Six-CD."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecgvf.core.errors import DatasetError
from ecgvf.core.files import is_folder, shortened

INDEX = re.compile(r"|index|unnamed: [\d.]+|__index_level_\d+__")
"""Normalised columns that number the rows, as pandas writes them."""

Record = dict[str, Any]
"""A row as the file has it: column → value."""


def read_records(path: Path) -> tuple[bytes, list[Record]]:
    """The bytes and the records of a file, or of a folder with Six-CD's malicious.csv and clean.csv.

    Raises ``DatasetError``.
    """
    if is_folder(path):
        return _read_six_cd(path)
    data = _read_bytes(path)
    return data, parse(path, data)


def parse(path: Path, data: bytes) -> list[Record]:
    """The records of a file. Raises ``DatasetError`` naming the file, and the line if there is one."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parse_parquet(path, data)
    if suffix not in {".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson"}:
        unknown = f"unknown file type {suffix}" if suffix else "a file without an extension"
        raise DatasetError(
            f"{path}: {unknown}: use .csv, .tsv, .json, .jsonl, .parquet, or .txt with one prompt per line"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    if suffix == ".txt":
        return [{"prompt": line} for line in re.split(r"[\r\n]+", text) if line.strip()]
    if suffix in {".csv", ".tsv"}:
        return _parse_csv(path, text, "\t" if suffix == ".tsv" else ",")
    if suffix == ".json":
        return _parse_json(path, text)
    return [_parse_line(path, line, number) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def normalise(column: str | None) -> str:
    """A column's name for comparisons: case-folded, without surrounding spaces."""
    return (column or "").strip().casefold()


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"there is no file {path}: check its path") from None
    except OSError as error:
        raise DatasetError(
            f"cannot read {shortened(path)} ({error.strerror}): check its path and permissions"
        ) from error


def _parse_csv(path: Path, text: str, delimiter: str) -> list[Record]:
    records = []
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        header = [normalise(name) for name in reader.fieldnames or ()]
        repeated = {name for name in header if header.count(name) > 1 and not INDEX.fullmatch(name)}
        if repeated:
            raise DatasetError(f"{path} has two columns named {sorted(repeated)[0]!r}: rename one")
        for record in reader:
            if None not in record and set(record.values()) <= {None, ""}:  # a line of spaces
                continue
            if None in record or None in record.values():
                how = "more" if None in record else "fewer"
                raise DatasetError(
                    f"{path}, line {reader.line_num}: {how} fields than the header names; quote texts with commas"
                )
            records.append(dict(record))
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error
    return records


def _parse_json(path: Path, text: str) -> list[Record]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not valid JSON: {error}") from error
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        if lists and all(isinstance(record, dict) for value in lists for record in value):
            content = [record for value in lists for record in value]  # CoPro: one list per split
        elif lists and len(lists) == len(content):
            if len({len(value) for value in lists}) > 1:
                raise DatasetError(f"{path}: its columns are not equally long")
            content = [dict(zip(content, values, strict=True)) for values in zip(*lists, strict=True)]
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        raise DatasetError(f'{path} is not a list of objects: write [{{"prompt": …}}, …]')
    return content


def _parse_line(path: Path, line: str, number: int) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}, line {number}: not valid JSON ({error})") from error
    if not isinstance(record, dict):
        raise DatasetError(f"{path}, line {number}: not an object")
    return record


def _parse_parquet(path: Path, data: bytes) -> list[Record]:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        names = file.schema_arrow.names
        if repeated := [name for name in names if names.count(name) > 1]:
            raise DatasetError(f"{path} has two columns named {repeated[0]!r}: rename one")
        textual = [field.name for field in file.schema_arrow if not _is_binary(field.type)]
        records: list[Record] = file.read(columns=textual, use_threads=False).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} is not a Parquet file, or it is cut off: download it again") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} holds text that is not UTF-8: write the file again") from error
    return records


def _is_binary(kind: pa.DataType) -> bool:
    """Whether a column holds images or other data that is neither text nor a number."""
    types = pa.types
    return types.is_struct(kind) or types.is_map(kind) or types.is_union(kind) or "binary" in str(kind)


def _read_six_cd(folder: Path) -> tuple[bytes, list[Record]]:
    """Six-CD's dual version: target prompts in one file, the same prompts without the concept in the other."""
    malicious, clean = folder / "malicious.csv", folder / "clean.csv"
    if not (malicious.is_file() and clean.is_file()):
        raise DatasetError(f"{folder} is a folder without malicious.csv and clean.csv (Six-CD): name a file")

    def records(file: Path, data: bytes, *required: str) -> list[Record]:
        found = [{normalise(name): value for name, value in record.items()} for record in parse(file, data)]
        missing = [name for name in required if found and name not in found[0]]
        if missing:
            raise DatasetError(f"{file} has no column {missing[0]}, which Six-CD's files have")
        return found

    malicious_data, clean_data = _read_bytes(malicious), _read_bytes(clean)
    targets = records(malicious, malicious_data, "case_number", "evaluation_seed", "prompt")
    surrogates = {row["case_number"]: row["prompt"] for row in records(clean, clean_data, "case_number", "prompt")}
    missing = [row["case_number"] for row in targets if row["case_number"] not in surrogates]
    if missing:
        raise DatasetError(f"{clean} has no case_number {missing[0]}, which {malicious} has")
    pairs: list[Record] = [
        {
            "case_number": row["case_number"],
            "evaluation_seed": row["evaluation_seed"],
            "concept": row.get("target", ""),
            "malicious": row["prompt"],
            "clean": surrogates[row["case_number"]],
        }
        for row in targets
    ]
    return malicious_data + clean_data, pairs
