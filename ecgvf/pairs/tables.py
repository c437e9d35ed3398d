"""Prompts from other people's records: which column is which field, and what its values mean.

Columns are recognised by name. The literature has several names for each field (``ALIASES``). A few published files use
one of these names for something else; they are recognised by their whole set of columns (``LAYOUTS``).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ecgvf.core.errors import DatasetError
from ecgvf.core.records import Split
from ecgvf.core.text import encodable
from ecgvf.pairs.record_files import INDEX, normalise, read_records

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

SPLIT_BY_NAME: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    "test": "test",
    "retain": "retain",
}
"""Name in a file → split."""

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


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One row. Texts are on one line, without surrounding spaces."""

    number: int
    """Position of the row in its file, from 1."""
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
    """Name of the file, without its folder."""
    sha256: str
    """Of the file; of a dataset on the Hub, of its rows and of the splits that it states."""
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
    data, records = read_records(path)
    return from_records(path.name, data, records, columns)


def from_records(
    name: str, data: bytes, records: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()
) -> PromptTable:
    """The prompts of ``records``, which were parsed from ``data``. Raises ``DatasetError``.

    ``columns`` as in ``read_table``.
    """
    if not records:
        raise DatasetError(f"{name} has no rows: add some, or name another file")
    original: dict[str, str] = {}  # normalised column → as in the file
    for column in dict.fromkeys(column for record in records for column in record):
        if (key := normalise(column)) in original:
            raise DatasetError(f"{name} has two columns of one name: {original[key]!r} and {column!r}; remove one")
        if not INDEX.fullmatch(key):
            original[key] = column
    layout, fields = _recognise(name, list(original), [normalise(column) for column in columns])
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


# Values


def _row(name: str, number: int, values: Mapping[str, Sequence[Any]]) -> PromptRow:
    """The row with these values per field; all fields but ``concept`` have at most one."""
    target, surrogate, identifier, seed = (
        next(iter(values.get(field, ())), None) for field in ("target", "surrogate", "id", "seed")
    )
    for value in (target, surrogate):
        if value is not None and not isinstance(value, str):
            raise DatasetError(
                f"{name}, row {number}: expected a prompt, found {value!r}; write text there, or name another --column"
            )
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
    split = SPLIT_BY_NAME.get(one_line(value).casefold())
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
