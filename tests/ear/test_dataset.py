"""A dataset by name: this store, shipped, a file, the Hub."""

import shutil
from pathlib import Path

import pytest

from ear.dataset import concept_of, find
from ear.method.pairs import training_pairs
from ecgvf.core import concepts
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, EcgvfError, HubError, SettingsError, StageMissing
from ecgvf.core.store import Store
from ecgvf.filter import stage as filter_stage
from ecgvf.janus import JanusModel
from ecgvf.publish import published
from ecgvf.publish.export import export
from tests.ear.conftest import Agreeing


def rows(dataset: Dataset) -> list[tuple[object, ...]]:
    return sorted(
        (one.pair.record_id, one.pair.target, one.target.vq_ids, one.surrogate.vq_ids if one.surrogate else None)
        for one in (*dataset.train, *dataset.test)
    )


def test_the_store_comes_first(store: Store) -> None:
    found = find(store, "ecgvf/church")
    assert str(store.root) in found.where and len(found.dataset.train) == 3


def test_an_export_and_each_of_its_files_are_datasets(store: Store, tmp_path: Path, tiny: JanusModel) -> None:
    out = tmp_path / "out"
    content = export(store, out)
    whole = find(store, str(out)).dataset
    assert rows(whole) == rows(find(store, "ecgvf/church").dataset)
    assert whole.concept == store.concept() and whole.judge == "nano-object-a" and whole.sampling["guidance"] == 2.0
    assert len(training_pairs(whole, tiny, 50)) == 3
    train = find(store, str(out / content.files[0])).dataset
    assert len(train.train) + len(train.test) in {2, 3} and concept_of(store, str(out)) == "church"
    assert find(store, str(out)).dataset.fingerprint == whole.fingerprint != train.fingerprint


def test_where_the_store_has_none_the_shipped_one_is_taken(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(store, tmp_path / "data" / "datasets" / "church")
    monkeypatch.setattr(published, "data_dir", lambda: tmp_path / "data")
    elsewhere = Store(tmp_path / "elsewhere")
    found = find(elsewhere, "ecgvf/church")
    assert "shipped" in found.where and rows(found.dataset) == rows(find(store, "ecgvf/church").dataset)
    assert not elsewhere.root.exists()
    with pytest.raises(StageMissing):
        find(elsewhere, "ecgvf/church", "abc")
    with pytest.raises(StageMissing, match=r"ecgvf generate --concept castle.*hub:OWNER/REPO/castle"):
        find(elsewhere, "ecgvf/castle")


def test_a_file_of_prompts_is_taken_in_drawn_and_judged(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("target,surrogate,concept\na church,a hotel,church\na church at sea,a hotel at sea,church\n")
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: Agreeing([True, False] * 2))
    store = Store()
    found = find(store, str(file), model=str(tiny_path), device="cpu")
    assert "drawn and judged" in found.where and len(found.dataset.train) == 2
    file.write_text("target,surrogate\na church,a hotel\n")
    with pytest.raises(DatasetError, match=r"does not say of which.*ecgvf import .*pairs\.csv --concept NAME"):
        find(store, str(file))
    file.write_text("target,surrogate,concept\na zebra,a horse,zebra\n")
    with pytest.raises(DatasetError, match=r"not known, 'zebra'.*ecgvf concepts new"):
        find(store, str(file))
    store.remember(concepts.find("cat").model_copy(update={"name": "zebra", "terms": ("zebra",)}))
    assert find(store, str(file), model=str(tiny_path), device="cpu").dataset.concept.terms == ("zebra",)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("church", DatasetError, "ecgvf/CONCEPT"),
        ("someone/data", DatasetError, "hub:OWNER/REPO"),
        ("ecgvf/../church", DatasetError, "ecgvf/CONCEPT"),
        ("ecgvf/", DatasetError, "ecgvf/CONCEPT"),
        ("ecgvf/data/church", DatasetError, "hub:ecgvf/data/church"),
        ("folder/pairs.csv", DatasetError, "there is no file folder/pairs.csv"),
        ("hub:../../church", DatasetError, "names nothing on the Hub"),
        ("someone/data/church", HubError, "cannot be reached"),
        ("hub:someone/data", HubError, "cannot be reached"),
    ],
)
def test_a_name_that_is_no_dataset_says_what_would_be(
    store: Store, name: str, error: type[EcgvfError], message: str
) -> None:
    with pytest.raises(error, match=message):
        find(store, name)


def test_a_set_is_of_this_store_alone(store: Store) -> None:
    with pytest.raises(SettingsError, match="--set abc"):
        find(store, "someone/data/church", "abc")


def test_a_cut_off_or_mixed_export_is_refused(store: Store, tmp_path: Path) -> None:
    content = export(store, tmp_path / "out")
    file = tmp_path / "out" / content.files[0]
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match="cut off"):
        find(store, str(tmp_path / "out"))
    shutil.rmtree(tmp_path / "out" / "church")
    with pytest.raises(DatasetError, match="has no 'church'"):
        find(store, str(tmp_path / "out"))
