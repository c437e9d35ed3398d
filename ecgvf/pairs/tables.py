"""Other people's files as rows: text, CSV, TSV, JSON, JSONL, Parquet, a folder of Six-CD, a dataset on the Hub.

What a column means is told by its name. The field has several names for one thing (``ALIASES``); a few published files
use a name for something else, and are known by all their columns together (``LAYOUTS``).
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecgvf.core.errors import DatasetError
from ecgvf.pairs.parsing import utf8

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
    ),
    "surrogate": ("surrogate", "surrogate_prompt", "safe_prompt", "modified_prompt", "clean", "safe", "neutral"),
    "id": ("id", "case_number", "image_id", "coco_id", "record_id"),
    "seed": ("seed", "evaluation_seed", "sd_seed"),
    "concept": ("concept", "replaced", "category", "categories"),
}
"""What a column says → the names it goes by."""

_PARTNERS = {"unsafe": "safe", "safe": "unsafe", "positive": "neutral", "neutral": "positive"}
"""Names that are prompts beside each other only: one alone may be a flag or a sentiment."""

_ATTACKED = frozenset({"target", "target_prompt"})
"""Beside ``adv_prompt``, what an attack aims at (MMA-Diffusion): the adversarial prompt is what is sent."""

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
"""Published files that use a name for something else: name, all their columns, and what says what."""

_INDEX = re.compile(r"|index|unnamed: [\d.]+|__index_level_\d+__")
"""Columns that number the rows, as pandas leaves them."""

Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One row, as far as it is understood. Texts are one line, without spaces around."""

    place: int
    """Of the row in its file, from 1."""
    target: str
    surrogate: str | None
    id: str | None
    """As it stands there: zeros in front stay."""
    seed: int | None
    concepts: tuple[str, ...]
    """What it says of its concept; of several columns or several values, all."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read."""

    name: str
    """Without the folder it lay in."""
    sha256: str
    layout: str | None
    """The published layout it was recognised by, if it was."""
    columns: dict[str, tuple[str, ...]]
    """What is said → the columns that say it."""
    entries: tuple[Entry, ...]


def read(path: Path, chosen: Sequence[str] = ()) -> Source:
    """The rows of a file, or of a folder with Six-CD's malicious.csv and clean.csv; ``chosen`` as in ``source``.

    Raises ``DatasetError``.
    """
    if path.is_dir():
        return _six_cd(path, chosen)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"there is no file {path}") from None
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}") from error
    return source(path.name, data, parse(path, data), chosen)


def source(name: str, data: bytes, rows: Sequence[Mapping[str, Any]], chosen: Sequence[str] = ()) -> Source:
    """``rows`` understood; ``data`` is what they were read from. Raises ``DatasetError``.

    ``chosen`` are columns to read instead of others that say the same; one whose name is not known (``ALIASES``) holds
    the target prompts.
    """
    if not rows:
        raise DatasetError(f"{name} has no rows")
    found = dict.fromkeys(column for row in rows for column in row)
    named: dict[str, str] = {}
    for column in found:
        if (key := _key(column)) in named:
            raise DatasetError(f"{name} has two columns for one thing: {named[key]!r} and {column!r}; remove one")
        if not _INDEX.fullmatch(key):
            named[key] = column
    layout, columns = _meaning(name, list(named), [_key(column) for column in chosen])
    entries = tuple(_entry(name, place, row, columns, named) for place, row in enumerate(rows, start=1))
    return Source(name, hashlib.sha256(data).hexdigest(), layout, columns, entries)


def parse(path: Path, data: bytes) -> list[dict[str, Any]]:
    """The rows of a file as they stand in it. Raises ``DatasetError`` naming the file, and the line where it can."""
    kind = path.suffix.lower()
    if kind == ".parquet":
        return _parquet(path, data)
    if kind not in {".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson"}:
        raise DatasetError(
            f"{path}: what is a {kind or 'file without an ending'}? Use .csv, .tsv, .json, .jsonl, .parquet, or .txt "
            "with one prompt per line"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    if kind == ".txt":
        return [{"prompt": line} for line in text.splitlines() if line.strip()]
    if kind in {".csv", ".tsv"}:
        return _csv(path, text, "\t" if kind == ".tsv" else ",")
    if kind == ".json":
        return _json(path, text)
    return [_object(path, line, number) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def one_line(text: object) -> str:
    """``text`` without line breaks and doubled or outer spaces."""
    return " ".join(utf8(str(text)).split())


def _csv(path: Path, text: str, delimiter: str) -> list[dict[str, Any]]:
    rows = []
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        header = [_key(name) for name in reader.fieldnames or ()]
        twice = {name for name in header if header.count(name) > 1 and not _INDEX.fullmatch(name)}
        if twice:
            raise DatasetError(f"{path} has two columns named {sorted(twice)[0]!r}: rename one")
        for row in reader:
            if None not in row and set(row.values()) <= {None, ""}:  # a line of spaces
                continue
            if None in row or None in row.values():
                how = "more" if None in row else "fewer"
                raise DatasetError(
                    f"{path}, line {reader.line_num}: {how} fields than the header names; "
                    "put a text that holds commas in quotes"
                )
            rows.append(dict(row))
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error
    return rows


def _json(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not valid JSON: {error}") from error
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        if lists and all(isinstance(row, dict) for value in lists for row in value):
            content = [row for value in lists for row in value]  # CoPro: one list per split
        elif lists and len(lists) == len(content):
            if len({len(value) for value in lists}) > 1:
                raise DatasetError(f"{path}: its columns are not equally long")
            content = [dict(zip(content, row, strict=True)) for row in zip(*lists, strict=True)]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise DatasetError(f'{path} is no list of objects: write [{{"prompt": …}}, …]')
    return content


def _object(path: Path, line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}, line {number}: not valid JSON ({error})") from error
    if not isinstance(row, dict):
        raise DatasetError(f"{path}, line {number}: not an object")
    return row


def _parquet(path: Path, data: bytes) -> list[dict[str, Any]]:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        names = file.schema_arrow.names
        if twice := [name for name in names if names.count(name) > 1]:
            raise DatasetError(f"{path} has two columns named {twice[0]!r}: rename one")
        wanted = [field.name for field in file.schema_arrow if not _holds_bytes(field.type)]
        rows: list[dict[str, Any]] = file.read(columns=wanted).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{path} is no Parquet file, or it is cut off: download it again") from error
    return rows


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds pictures, or something else that says nothing in words."""
    return (pa.types.is_nested(kind) and not pa.types.is_list(kind)) or "binary" in str(kind)


def _six_cd(folder: Path, chosen: Sequence[str]) -> Source:
    """Six-CD's dual version: the target prompts in one file, the same without the concept in the other."""
    files = [folder / "malicious.csv", folder / "clean.csv"]
    if not all(file.is_file() for file in files):
        raise DatasetError(f"{folder} is a folder without malicious.csv and clean.csv (Six-CD): name a file")
    data = [file.read_bytes() for file in files]
    targets, clean = (
        [{_key(name): value for name, value in row.items()} for row in parse(file, content)]
        for file, content in zip(files, data, strict=True)
    )
    for file, rows, wanted in (
        (files[0], targets, ("case_number", "evaluation_seed", "prompt")),
        (files[1], clean, ("case_number", "prompt")),
    ):
        lacking = [name for name in wanted if rows and name not in rows[0]]
        if lacking:
            raise DatasetError(f"{file} has no column {lacking[0]}, which Six-CD's files have")
    surrogates = {row["case_number"]: row["prompt"] for row in clean}
    missing = [row["case_number"] for row in targets if row["case_number"] not in surrogates]
    if missing:
        raise DatasetError(f"{files[1]} has no case_number {missing[0]}, which {files[0]} has")
    rows = [
        {
            "case_number": row["case_number"],
            "evaluation_seed": row["evaluation_seed"],
            "concept": row.get("target", ""),
            "malicious": row["prompt"],
            "clean": surrogates[row["case_number"]],
        }
        for row in targets
    ]
    return source(folder.name, b"".join(data), rows, chosen)


def _meaning(name: str, columns: Sequence[str], chosen: Sequence[str]) -> tuple[str | None, dict[str, tuple[str, ...]]]:
    picked = _picked(name, columns, chosen)
    for layout, all_columns, meaning in LAYOUTS:
        if all_columns == set(columns):
            return layout, meaning | picked
    meaning = {}
    for said, aliases in ALIASES.items():
        found = [column for column in columns if column in aliases and _PARTNERS.get(column, column) in columns]
        if said == "target" and "adv_prompt" in found:
            found = [column for column in found if column not in _ATTACKED]
        if said == "surrogate":
            target = meaning["target"][0]
            found = [column for column in found if _PARTNERS.get(column, target) == target]
        if said in picked:
            found = list(picked[said])
        if len(found) > 1:
            raise DatasetError(
                f"{name} has {len(found)} columns for one thing ({said}): {' and '.join(map(repr, found))}; "
                f"choose one: `ecgvf import --column {found[0]}`"
            )
        if found:
            meaning[said] = (found[0],)
        elif said == "target":
            raise DatasetError(
                f"{name} has no column of prompts: it has {', '.join(columns)}; name one with `ecgvf import --column`"
            )
    return None, meaning


def _picked(name: str, columns: Sequence[str], chosen: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What the ``chosen`` columns say → each of them."""
    picked: dict[str, tuple[str, ...]] = {}
    for column in chosen:
        if column not in columns:
            raise DatasetError(f"{name} has no column {column!r}: it has {', '.join(columns)}")
        said = next((said for said, aliases in ALIASES.items() if column in aliases), "target")
        if picked.setdefault(said, (column,)) != (column,):
            raise DatasetError(
                f"--column {picked[said][0]} and --column {column} are for one thing ({said}): choose one of them"
            )
    return picked


def _entry(
    name: str, place: int, row: Mapping[str, Any], columns: Mapping[str, tuple[str, ...]], named: Mapping[str, str]
) -> Entry:
    def said(what: str) -> list[Any]:
        return [row.get(named[column]) for column in columns.get(what, ())]

    target, surrogate, ident, seed = (next(iter(said(what)), None) for what in ("target", "surrogate", "id", "seed"))
    for value in (target, surrogate):
        if value is not None and not isinstance(value, str):
            raise DatasetError(f"{name}, row {place}: {value!r} is no text, and stands where a prompt is expected")
    return Entry(
        place=place,
        target=one_line(target or ""),
        surrogate=one_line(surrogate) if surrogate is not None and one_line(surrogate) else None,
        id=one_line(ident) if ident not in (None, "") else None,
        seed=_seed(name, place, seed),
        concepts=tuple(_parts(said("concept"))),
    )


def _seed(name: str, place: int, value: object) -> int | None:
    if value is None or one_line(value) in ("", "nan"):  # pandas writes a seed that is missing so
        return None
    try:
        number = Decimal(one_line(value))  # "42.0" is a seed, and a float would not tell those above 2**53 apart
        if not 0 <= number < 2**63 or number != int(number):
            raise ValueError
    except (ValueError, InvalidOperation):
        raise DatasetError(
            f"{name}, row {place}: {value!r} is no seed; a seed is a whole number from 0 up, below 2**63"
        ) from None
    return int(number)


def _parts(values: Iterable[object]) -> Iterable[str]:
    """ "violence, self-harm" is two."""
    for value in values:
        for part in value if isinstance(value, list) else str(value or "").split(","):
            if one_line(part):
                yield one_line(part)


def _key(column: str | None) -> str:
    return (column or "").strip().casefold()
