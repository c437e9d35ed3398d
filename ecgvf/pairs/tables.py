"""Read prompts from somebody's file: text, CSV, TSV, JSON, JSONL, Parquet, or a folder of Six-CD.

Columns are recognised by name. The literature has several names for one field (``ALIASES``); a few published files use
a name for another field, and are recognised by all their columns together (``LAYOUTS``).
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecgvf.core.errors import DatasetError
from ecgvf.core.records import Split
from ecgvf.core.text import encodable

ALIASES: dict[str, tuple[str, ...]] = {
    "target": (
        "target",
        "target_prompt",
        "prompt",
        "text",
        "unsafe_prompt",
        "original_prompt",
        "malicious",
        "adv_prompt",
        "unsafe",
        "positive",
        "sensitive prompt",
    ),
    "surrogate": ("surrogate", "surrogate_prompt", "safe_prompt", "modified_prompt", "clean", "safe", "neutral"),
    "id": ("id", "case_number", "image_id", "coco_id", "record_id"),
    "seed": ("seed", "evaluation_seed", "sd_seed"),
    "concept": ("concept", "replaced", "category", "categories"),
    "split": ("split",),
    "retained_concept": ("retained_concept",),
}
"""Field → names of its column."""

_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    "test": "test",
    "retain": "retain",
}
"""Names of the splits in files."""

_PARTNERS = {"unsafe": "safe", "safe": "unsafe", "positive": "neutral", "neutral": "positive"}
"""Columns that hold prompts only beside their partner: alone they may be a flag or a sentiment."""

_ATTACKED = frozenset({"target", "target_prompt"})
"""Beside ``adv_prompt``, the prompt that is attacked (MMA-Diffusion): the adversarial one is sent to the model."""

LAYOUTS: tuple[tuple[str, frozenset[str], dict[str, tuple[str, ...]]], ...] = (
    # Six-CD's `target` is the concept; its `prompt` is the target prompt.
    (
        "Six-CD",
        frozenset({"case_number", "evaluation_seed", "target", "prompt"}),
        {"target": ("prompt",), "concept": ("target",), "id": ("case_number",), "seed": ("evaluation_seed",)},
    ),
    # CoPro names a concept ("blood") and its category ("violence").
    (
        "CoPro",
        frozenset({"unsafe_prompt", "safe_prompt", "concept", "category"}),
        {"target": ("unsafe_prompt",), "surrogate": ("safe_prompt",), "concept": ("concept", "category")},
    ),
    # Some of the COCO-30k lists number their rows beside COCO's own id.
    (
        "COCO-30k",
        frozenset({"case_number", "source", "prompt", "evaluation_seed", "coco_id"}),
        {"target": ("prompt",), "id": ("coco_id",), "seed": ("evaluation_seed",)},
    ),
)
"""Published files that use a name for another field: name, all columns, field → its columns."""

_INDEX = re.compile(r"|index|unnamed: [\d.]+|__index_level_\d+__")
"""Columns that number the rows, as pandas writes them."""

Record = dict[str, Any]
"""A row as the file has it: column → value."""


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One row. Texts are on one line, without surrounding spaces."""

    number: int
    """Of the row in its file, from 1."""
    target: str
    surrogate: str | None
    id: str | None
    """As in the file, leading zeros included."""
    seed: int | None
    concepts: tuple[str, ...]
    """All concepts and categories that the row names."""
    split: Split | None = None
    retained_concept: str | None = None
    """What a row of the retain split is about."""


@dataclass(frozen=True, slots=True)
class PromptTable:
    """The prompts of a file."""

    name: str
    """Of the file, without its folder."""
    sha256: str
    layout: str | None
    """The published layout that was recognised."""
    columns: dict[str, tuple[str, ...]]
    """Field → the columns it was read from."""
    rows: tuple[PromptRow, ...]


def read_table(path: Path, columns: Sequence[str] = ()) -> PromptTable:
    """The prompts of a file, or of a folder with Six-CD's malicious.csv and clean.csv.

    ``columns`` (``--column``) are read instead of others for the same field; a name that is not in ``ALIASES`` is the
    column of target prompts. Raises ``DatasetError``.
    """
    if path.is_dir():
        return _read_six_cd(path, columns)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"there is no file {path}") from None
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}") from error
    return from_records(path.name, data, parse(path, data), columns)


def from_records(
    name: str, data: bytes, records: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()
) -> PromptTable:
    """The prompts of ``records``, which were parsed from ``data``. Raises ``DatasetError``.

    ``columns`` as in ``read_table``.
    """
    if not records:
        raise DatasetError(f"{name} has no rows")
    original: dict[str, str] = {}  # normalised column → as in the file
    for column in dict.fromkeys(column for record in records for column in record):
        if (key := _normalise(column)) in original:
            raise DatasetError(f"{name} has two columns of one name: {original[key]!r} and {column!r}; remove one")
        if not _INDEX.fullmatch(key):
            original[key] = column
    layout, fields = _recognise(name, list(original), [_normalise(column) for column in columns])
    rows = tuple(
        _row(
            name, number, {field: [record.get(original[column]) for column in found] for field, found in fields.items()}
        )
        for number, record in enumerate(records, start=1)
    )
    return PromptTable(name, hashlib.sha256(data).hexdigest(), layout, fields, rows)


def one_line(text: object) -> str:
    """``text`` without line breaks and without doubled or surrounding spaces."""
    return " ".join(encodable(str(text)).split())


# Files


def parse(path: Path, data: bytes) -> list[Record]:
    """The records of a file. Raises ``DatasetError`` naming the file, and the line if there is one."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parse_parquet(path, data)
    if suffix not in {".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson"}:
        raise DatasetError(
            f"{path}: what is a {suffix or 'file without an ending'}? Use .csv, .tsv, .json, .jsonl, .parquet, or .txt "
            "with one prompt per line"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    if suffix == ".txt":
        return [{"prompt": line} for line in text.splitlines() if line.strip()]
    if suffix in {".csv", ".tsv"}:
        return _parse_csv(path, text, "\t" if suffix == ".tsv" else ",")
    if suffix == ".json":
        return _parse_json(path, text)
    return [_parse_line(path, line, number) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _parse_csv(path: Path, text: str, delimiter: str) -> list[Record]:
    records = []
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        header = [_normalise(name) for name in reader.fieldnames or ()]
        repeated = {name for name in header if header.count(name) > 1 and not _INDEX.fullmatch(name)}
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
        records: list[Record] = file.read(columns=textual).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{path} is not a Parquet file, or it is cut off: download it again") from error
    return records


def _is_binary(kind: pa.DataType) -> bool:
    """Whether a column holds images or other data that is neither text nor a number."""
    return (pa.types.is_nested(kind) and not pa.types.is_list(kind)) or "binary" in str(kind)


def _read_six_cd(folder: Path, columns: Sequence[str]) -> PromptTable:
    """Six-CD's dual version: target prompts in one file, the same prompts without the concept in the other."""
    malicious, clean = folder / "malicious.csv", folder / "clean.csv"
    if not (malicious.is_file() and clean.is_file()):
        raise DatasetError(f"{folder} is a folder without malicious.csv and clean.csv (Six-CD): name a file")

    def records(file: Path, data: bytes, *required: str) -> list[Record]:
        found = [{_normalise(name): value for name, value in record.items()} for record in parse(file, data)]
        missing = [name for name in required if found and name not in found[0]]
        if missing:
            raise DatasetError(f"{file} has no column {missing[0]}, which Six-CD's files have")
        return found

    malicious_data, clean_data = malicious.read_bytes(), clean.read_bytes()
    targets = records(malicious, malicious_data, "case_number", "evaluation_seed", "prompt")
    surrogates = {row["case_number"]: row["prompt"] for row in records(clean, clean_data, "case_number", "prompt")}
    missing = [row["case_number"] for row in targets if row["case_number"] not in surrogates]
    if missing:
        raise DatasetError(f"{clean} has no case_number {missing[0]}, which {malicious} has")
    pairs = [
        {
            "case_number": row["case_number"],
            "evaluation_seed": row["evaluation_seed"],
            "concept": row.get("target", ""),
            "malicious": row["prompt"],
            "clean": surrogates[row["case_number"]],
        }
        for row in targets
    ]
    return from_records(folder.name, malicious_data + clean_data, pairs, columns)


# Columns


def _recognise(
    name: str, columns: Sequence[str], selected: Sequence[str]
) -> tuple[str | None, dict[str, tuple[str, ...]]]:
    """The layout of a file with these (normalised) columns, if it is a published one; and field → its columns."""
    overrides = _overrides(name, columns, selected)
    for layout, layout_columns, fields in LAYOUTS:
        if layout_columns == set(columns):
            return layout, fields | overrides
    fields = {}
    for field, aliases in ALIASES.items():
        found = [column for column in columns if column in aliases and _PARTNERS.get(column, column) in columns]
        if field == "target" and "adv_prompt" in found:
            found = [column for column in found if column not in _ATTACKED]
        if field == "surrogate":
            target = fields["target"][0]
            found = [column for column in found if _PARTNERS.get(column, target) == target]
        if field in overrides:
            found = list(overrides[field])
        if len(found) > 1:
            raise DatasetError(
                f"{name} has {len(found)} columns for the field {field!r}: {' and '.join(map(repr, found))}; "
                f"choose one: `--column {found[0]}`"
            )
        if found:
            fields[field] = (found[0],)
        elif field == "target":
            raise DatasetError(
                f"{name} has no column of prompts: it has {', '.join(columns)}; name one with `--column`"
            )
    return None, fields


def _overrides(name: str, columns: Sequence[str], selected: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Field → the column that the user selected for it."""
    overrides: dict[str, tuple[str, ...]] = {}
    for column in selected:
        if column not in columns:
            raise DatasetError(f"{name} has no column {column!r}: it has {', '.join(columns)}")
        field = next((field for field, aliases in ALIASES.items() if column in aliases), "target")
        if overrides.setdefault(field, (column,)) != (column,):
            raise DatasetError(
                f"--column {overrides[field][0]} and --column {column} are both for the field {field!r}: choose one"
            )
    return overrides


def _normalise(column: str | None) -> str:
    return (column or "").strip().casefold()


# Values


def _row(name: str, number: int, values: Mapping[str, Sequence[Any]]) -> PromptRow:
    """The row with these values per field; all fields but ``concept`` have at most one."""
    target, surrogate, identifier, seed = (
        next(iter(values.get(field, ())), None) for field in ("target", "surrogate", "id", "seed")
    )
    for value in (target, surrogate):
        if value is not None and not isinstance(value, str):
            raise DatasetError(f"{name}, row {number}: expected a prompt, found {value!r}")
    return PromptRow(
        number=number,
        target=one_line(target or ""),
        surrogate=one_line(surrogate or "") or None,
        id=one_line(identifier) if identifier not in (None, "") else None,
        seed=_seed(name, number, seed),
        concepts=tuple(_concepts(values.get("concept", ()))),
        split=_split(name, number, next(iter(values.get("split", ())), None)),
        retained_concept=one_line(next(iter(values.get("retained_concept", ())), None) or "") or None,
    )


def _split(name: str, number: int, value: object) -> Split | None:
    if value is None or one_line(value) in ("", "nan"):
        return None
    split = _SPLITS.get(one_line(value).casefold())
    if split is None:
        raise DatasetError(f"{name}, row {number}: {value!r} is not a split: write train, validation, test or retain")
    return split


def _seed(name: str, number: int, value: object) -> int | None:
    if value is None or one_line(value) in ("", "nan"):  # how pandas writes a missing seed
        return None
    try:
        seed = Decimal(one_line(value))  # not a float: "42.0" is a seed, and those above 2**53 must stay exact
        if not 0 <= seed < 2**63 or seed != int(seed):
            raise ValueError
    except (ValueError, InvalidOperation):
        raise DatasetError(
            f"{name}, row {number}: {value!r} is not a seed: a seed is a whole number from 0 up, below 2**63"
        ) from None
    return int(seed)


def _concepts(values: Sequence[object]) -> Iterator[str]:
    """The concepts in a row's values: "violence, self-harm" names two."""
    for value in values:
        for part in value if isinstance(value, list) else str(value or "").split(","):
            if concept := one_line(part):
                yield concept
