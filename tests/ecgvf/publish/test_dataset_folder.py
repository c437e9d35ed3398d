"""A published dataset is checked as it is read: a file that was edited, or that a newer version wrote, is one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecgvf.core.errors import ConceptError, DatasetError
from ecgvf.publish.catalogue import KEY
from ecgvf.publish.dataset_folder import DatasetFolder, shipped_dataset

Facts = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    """A copy of the shipped dataset of church."""
    shipped = shipped_dataset("church")
    assert shipped is not None
    return DatasetFolder(shutil.copytree(shipped.folder, tmp_path / "church"), "COPY")


def edit_facts(folder: DatasetFolder, change: Callable[[Facts], Any]) -> None:
    """Change what the rows of every file have in common."""
    for file in (folder.folder / "church").glob("*.parquet"):
        table = pq.read_table(file)
        facts = json.loads(table.schema.metadata[KEY])
        change(facts)
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, KEY: json.dumps(facts)}), file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts.pop("model"), "COPY: model: the field is missing; it was edited"),
        (lambda facts: facts.update(run_seed="first"), "COPY: run_seed: it must be a whole number"),
        (lambda facts: facts["concept"].pop("terms"), "COPY: terms: the field is missing"),
        (lambda facts: facts["sampling"].update(min_p=0.1), r"COPY: sampling: .*'min_p'.* a newer version of ecgvf"),
        (lambda facts: facts["sampling"].update(top_p=2), "COPY: sampling: top_p 2"),
    ],
)
def test_facts_that_are_not_a_runs_are_one_line(
    folder: DatasetFolder, change: Callable[[Facts], Any], message: str
) -> None:
    edit_facts(folder, change)
    with pytest.raises((DatasetError, ConceptError), match=message):
        folder.dataset()


def test_facts_that_a_newer_version_adds_are_ignored(folder: DatasetFolder) -> None:
    before = folder.dataset()
    edit_facts(folder, lambda facts: facts.update(weather="fine"))
    after = folder.dataset()
    assert (after.sampling, after.train) == (before.sampling, before.train)


@pytest.mark.parametrize(
    "column",
    [
        *("record_id", "split", "target", "surrogate", "target_term", "surrogate_term", "wording", "seed"),
        *("target_vq_ids", "surrogate_vq_ids", "retained_concept"),
    ],
)
def test_what_decides_training_or_measurement_changes_the_fingerprint(folder: DatasetFolder, column: str) -> None:
    before = folder.dataset().fingerprint
    [file] = (folder.folder / "church").glob("validation-*.parquet")
    table = pq.read_table(file)
    others = {"split": "test", "wording": "explicit", "seed": 7, "retained_concept": "cat"}
    values = table[column].to_pylist() if column in table.column_names else [None] * len(table)
    values[0] = [0, *values[0][1:]] if column.endswith("_ids") else others.get(column, "another")
    edited = table.drop_columns([column]) if column in table.column_names else table
    pq.write_table(edited.append_column(column, pa.array(values)), file)
    assert folder.dataset().fingerprint != before


def test_what_decides_nothing_leaves_the_fingerprint(folder: DatasetFolder) -> None:
    before = folder.dataset().fingerprint
    for file in (folder.folder / "church").glob("*.parquet"):
        table = pq.read_table(file)
        pq.write_table(table.drop_columns(["target_image", "target_score"]), file, row_group_size=7)
    assert folder.dataset().fingerprint == before


@pytest.mark.parametrize("column", ["surrogate_vq_ids", "record_id", "seed", "writer", "iteration"])
def test_a_missing_column_is_one_line(folder: DatasetFolder, column: str) -> None:
    [file] = (folder.folder / "church").glob("train-*.parquet")
    pq.write_table(pq.read_table(file).drop_columns(column), file)
    with pytest.raises(DatasetError, match=rf"train-00000-of-00001\.parquet.*{column}.*it was edited"):
        folder.dataset()


def test_a_split_of_a_newer_version_is_one_line(folder: DatasetFolder) -> None:
    [file] = (folder.folder / "church").glob("train-*.parquet")
    table = pq.read_table(file)
    split = table.schema.get_field_index("split")
    pq.write_table(table.set_column(split, "split", [["calibration"] * table.num_rows]), file)
    with pytest.raises(DatasetError, match=r"record \w{16}: split: it must be 'train', 'validation'"):
        folder.dataset()
