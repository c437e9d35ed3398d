"""Prompts from any dataset on the Hub."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ecgvf.core.errors import DatasetError
from ecgvf.core.hub import HubName, hub_errors, reason
from ecgvf.core.records import Split
from ecgvf.pairs.tables import ALIASES, SPLIT_BY_NAME, PromptTable, from_records

if TYPE_CHECKING:
    from datasets import DatasetDict, Features


def read_hub_table(name: HubName, columns: Sequence[str] = ()) -> PromptTable:
    """The prompts of all splits of ``name``, whose ``concept`` is a configuration; ``columns`` as in ``read_table``.

    If there are several splits and no column states the split, the rows of a validation or test split belong to it. The
    others, whatever their split is called, belong to none.

    Raises ``DatasetError``, ``HubError``.
    """
    import datasets

    path = f"hf://datasets/{name.repo}"  # by its bare name, `datasets` would read a local folder OWNER/NAME instead
    with hub_errors(name.repo, name.revision):
        try:
            splits = datasets.load_dataset(path, name.concept, revision=name.revision)
            if (features := _features_with_text_ids(splits)) is not None:
                splits = datasets.load_dataset(path, name.concept, revision=name.revision, features=features)
        # A configuration that is missing or not named, or a repository without data.
        except (datasets.exceptions.DatasetsError, datasets.data_files.EmptyDatasetError, ValueError) as error:
            raise DatasetError(f"cannot read {name} from the Hub: {reason(error)}") from error
    records: list[dict[str, Any]] = []
    stated: list[Split | None] = []
    for split, rows in splits.items():  # text and numbers: no images, no audio
        readable = [column for column, kind in rows.features.items() if not hasattr(kind, "decode_example")]
        records += rows.select_columns(readable)
        known = SPLIT_BY_NAME.get(str(split).casefold())
        stated += [known if known in ("validation", "test") else None] * len(rows)
    data = json.dumps(records, sort_keys=True, default=str).encode()
    table = from_records(str(name), data, records, columns)
    if len(splits) == 1 or "split" in table.columns or not any(stated):
        return table
    return replace(
        table,
        sha256=hashlib.sha256(data + json.dumps(stated).encode()).hexdigest(),
        columns={**table.columns, "split": ("split on the Hub",)},
        rows=tuple(replace(row, split=split) for row, split in zip(table.rows, stated, strict=True)),
    )


def _features_with_text_ids(splits: "DatasetDict") -> "Features | None":
    """Features that keep the leading zeros of ids in CSV files; None if there are no such ids."""
    from datasets import Features, Value

    first = next(iter(splits.values()))
    ids = [name for name, kind in first.features.items() if name.casefold() in ALIASES["id"] and kind == Value("int64")]
    if first.info.builder_name != "csv" or not ids:
        return None
    return Features({**first.features, **dict.fromkeys(ids, Value("string"))})
