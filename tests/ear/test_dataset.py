"""A dataset by name: this store, shipped, a file, the Hub."""

import io
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ear.dataset import find_dataset
from ear.method.pairs import training_pairs
from ecgvf.core import concepts
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, EcgvfError, HubError, SettingsError, StageMissing
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES
from ecgvf.core.store import Store
from ecgvf.filter import stage as filter_stage
from ecgvf.filter.dataset import load_dataset
from ecgvf.janus import JanusModel
from ecgvf.publish import dataset_folder
from ecgvf.publish.export import export
from tests.ear.conftest import AgreeingJudge


def rows(dataset: Dataset) -> list[tuple[object, ...]]:
    return sorted(
        (
            record.pair.record_id,
            record.pair.target,
            record.target.vq_ids,
            record.surrogate.vq_ids if record.surrogate else None,
        )
        for record in (*dataset.train, *dataset.validation, *dataset.test)
    )


def test_the_store_comes_first(store: Store) -> None:
    dataset, where = find_dataset(store, "ecgvf/church")
    assert str(store.root) in where
    assert len(dataset.train) == 3


def test_images_are_not_kept_in_memory(store: Store) -> None:
    dataset, _ = find_dataset(store, "ecgvf/church")
    with_images = load_dataset(ConceptRun(store, store.concept()))
    assert with_images.train[0].target.image and rows(with_images) == rows(dataset)
    records = (*dataset.train, *dataset.validation, *dataset.test)
    assert not any(each.image for record in records for each in (record.target, record.surrogate) if each)


def test_an_export_and_each_of_its_files_are_datasets(store: Store, tmp_path: Path, tiny: JanusModel) -> None:
    out = tmp_path / "out"
    exported = export(ConceptRun(store, store.concept()), out)
    whole, _ = find_dataset(store, str(out))
    assert rows(whole) == rows(find_dataset(store, "ecgvf/church")[0])
    assert whole.concept == store.concept() and whole.judge == "nano-object-a" and whole.sampling.guidance == 2.0
    assert len(training_pairs(store, whole, tiny, 50)) == 3
    part, _ = find_dataset(store, str(out / exported.paths[0]))
    assert (len(part.train), len(part.validation), len(part.test)) == (3, 0, 0)
    assert (len(whole.validation), len(whole.test)) == (2, 2)
    assert find_dataset(store, str(out))[0].fingerprint == whole.fingerprint != part.fingerprint


def test_an_export_from_before_there_was_validation_loads(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported = export(ConceptRun(store, store.concept()), out)
    shutil.rmtree(out / "church-rejected", ignore_errors=True)
    for path in exported.paths:
        table = pq.read_table(out / path)
        if "validation" in path:
            (out / path).unlink()
        else:
            pq.write_table(table.drop_columns(["split", "wording"]), out / path)
    catalogue = json.loads((out / "ecgvf.json").read_text())
    del catalogue["concepts"]["church"]["counts"]["validation"], catalogue["concepts"]["church"]["test_openings"]
    (out / "ecgvf.json").write_text(json.dumps(catalogue))
    older, _ = find_dataset(store, str(out))
    assert [len(records) for records in (older.train, older.validation, older.test)] == [3, 0, 2]
    assert {record.pair.wording for record in older.test} == {None}


def test_without_one_in_the_store_the_shipped_dataset_is_used(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(ConceptRun(store, store.concept()), tmp_path / "data" / "datasets" / "church")
    monkeypatch.setattr(dataset_folder, "data_dir", lambda: tmp_path / "data")
    elsewhere = Store(tmp_path / "elsewhere")
    dataset, where = find_dataset(elsewhere, "ecgvf/church")
    assert "shipped" in where
    assert rows(dataset) == rows(find_dataset(store, "ecgvf/church")[0])
    assert not elsewhere.root.exists()
    with pytest.raises(StageMissing):
        find_dataset(elsewhere, "ecgvf/church", "abc")
    with pytest.raises(StageMissing, match=r"ecgvf generate --concept castle.*hub:OWNER/REPO/castle"):
        find_dataset(elsewhere, "ecgvf/castle")


def test_a_file_of_prompts_is_imported_rendered_and_filtered(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pairs.csv"
    pairs = "a church,a hotel,church\na church at sea,a hotel at sea,church\n"
    file.write_text(f"target,surrogate,concept\n{pairs}A church at a sea,,church\n")
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: AgreeingJudge([True, False] * 2))
    store = Store()
    dataset, where = find_dataset(store, str(file), model=str(tiny_path), device="cpu")
    assert "rendered and filtered" in where
    assert (len(dataset.train), len(dataset.test)) == (2, 0)
    assert "is like a training prompt, such as: A church at a sea" in " ".join(capsys.readouterr().err.split())
    file.write_text("target,surrogate\na church,a hotel\n")
    with pytest.raises(DatasetError, match=r"does not name one concept.*ecgvf import .*pairs\.csv --concept NAME"):
        find_dataset(store, str(file))
    file.write_text("target,surrogate,concept\na zebra,a horse,zebra\n")
    with pytest.raises(DatasetError, match=r"unknown concept, 'zebra'.*ecgvf concepts new"):
        find_dataset(store, str(file))
    store.remember(concepts.find("cat").model_copy(update={"name": "zebra", "terms": ("zebra",)}))
    dataset, _ = find_dataset(store, str(file), model=str(tiny_path), device="cpu")
    assert dataset.concept.terms == ("zebra",)


def test_a_file_of_prompts_is_rendered_in_the_dtype_that_is_named(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs.csv").write_text("target,surrogate,concept\na church,a hotel,church\n")
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: AgreeingJudge())
    store, tiny = Store(), str(tiny_path)
    for model, dtype, expected in (
        (tiny, "bfloat16", "bfloat16"),
        (None, "float32", "float32"),
        (None, "auto", "float32"),
    ):
        find_dataset(store, str(tmp_path / "pairs.csv"), model=model, device="cpu", dtype=dtype)
        settings = ConceptRun(store, concepts.find("church")).current(IMAGES).settings
        assert (settings["model"], settings["dtype"]) == (tiny, expected)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("church", DatasetError, "there is no dataset, folder or file 'church': write ecgvf/CONCEPT"),
        ("", DatasetError, "there is no dataset, folder or file ''"),
        ("/exports/church", DatasetError, "there is no dataset, folder or file '/exports/church'"),
        ("../exports/church", DatasetError, "there is no dataset, folder or file"),
        ("someone/data", DatasetError, "hub:OWNER/REPO"),
        ("ecgvf/../church", DatasetError, "ecgvf/CONCEPT"),
        ("ecgvf/", DatasetError, "ecgvf/CONCEPT"),
        ("ecgvf/data/church", DatasetError, "hub:ecgvf/data/church"),
        ("folder/pairs.csv", DatasetError, "there is no file folder/pairs.csv"),
        ("hub:../../church", DatasetError, "is not a name on the Hub"),
        ("someone/data/church", HubError, "cannot be reached"),
        ("hub:someone/data", HubError, "cannot be reached"),
    ],
)
def test_an_unknown_name_is_refused_with_the_valid_forms(
    store: Store, name: str, error: type[EcgvfError], message: str
) -> None:
    with pytest.raises(error, match=message):
        find_dataset(store, name)


def test_a_folder_that_is_no_dataset_is_refused_with_the_valid_forms(store: Store) -> None:
    with pytest.raises(
        DatasetError, match=r"the folder .* is no dataset, as it has no ecgvf\.json: write ecgvf/CONCEPT"
    ):
        find_dataset(store, str(store.root))


def test_an_unknown_set_is_no_reason_to_look_on_the_hub(store: Store) -> None:
    with pytest.raises(EcgvfError, match="abc") as caught:
        find_dataset(store, "ecgvf/church", "abc")
    assert "Hub" not in str(caught.value)


def test_a_set_is_of_this_store_only(store: Store) -> None:
    with pytest.raises(SettingsError, match="--set abc"):
        find_dataset(store, "someone/data/church", "abc")


def test_a_cut_off_or_mixed_export_is_refused(store: Store, tmp_path: Path) -> None:
    exported = export(ConceptRun(store, store.concept()), tmp_path / "out")
    file = tmp_path / "out" / exported.paths[0]
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match="cut off"):
        find_dataset(store, str(tmp_path / "out"))
    chunk = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)
    start = chunk.data_page_offset
    file.write_bytes(data[:start] + b"\xff" * chunk.total_compressed_size + data[start + chunk.total_compressed_size :])
    with pytest.raises(DatasetError, match=rf"{file.name} is damaged: download or export it again"):
        find_dataset(store, str(tmp_path / "out"))
    shutil.rmtree(tmp_path / "out" / "church")
    with pytest.raises(DatasetError, match="has no 'church'"):
        find_dataset(store, str(tmp_path / "out"))
