from pathlib import Path

import pytest

from ecgvf import Run
from ecgvf.core import concepts
from ecgvf.core.errors import StageMissing, StoreError, StoreVersionError
from ecgvf.core.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_the_last_concept_is_the_default(store: Store) -> None:
    store.remember(concepts.find("church"))
    store.remember(concepts.find("cat"))
    assert store.last_concept() == "cat"
    assert store.concept() == concepts.find("cat")
    assert store.concept("church").name == "church"
    assert store.concepts() == ["cat", "church"]


def test_remember_first_never_replaces_the_last_concept(store: Store) -> None:
    store.remember_first("church")
    store.remember_first("cat")
    assert store.last_concept() == "church"


def test_an_empty_store_says_what_to_run(store: Store) -> None:
    with pytest.raises(StageMissing, match="ecgvf generate --concept NAME"):
        store.concept()
    with pytest.raises(StageMissing, match="ecgvf generate --concept church"):
        store.concept("church")
    with pytest.raises(StageMissing, match="name a concept with --concept: `ecgvf concepts` lists them"):
        Run.from_definition(store=store)


def test_a_concept_that_is_not_there_is_asked_for_by_a_similar_name_or_by_its_name(store: Store) -> None:
    store.remember(concepts.find("church"))
    with pytest.raises(StageMissing, match=r"no run of 'chruch' \(did you mean church\?\) in .* \(there: church\)"):
        store.concept("chruch")
    with pytest.raises(StageMissing, match=r"^some/moose\.yaml is a file: name a concept of .* \(there: church\)"):
        store.concept("some/moose.yaml")
    with pytest.raises(StageMissing, match=r"`ecgvf generate --concept` first, with a name of `ecgvf concepts` or"):
        store.concept("moose")


@pytest.mark.parametrize("name", ["", "..", "../etc", "a/b", "/etc", "A", "a b", "a\x00"])
def test_names_from_users_never_become_paths_unchecked(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="cannot name a folder"):
        store.folder(name, "pairs")
    with pytest.raises(StoreError, match="cannot name a folder"):
        store.folder("church", name)
    with pytest.raises(StoreError, match="cannot name a folder"):
        store.concept(name)


def test_a_store_in_the_home_folder_may_be_named_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/mine").root == tmp_path / "mine"
    monkeypatch.setenv("ECGVF_STORE", "~/other")
    assert Store().root == tmp_path / "other"


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 7}')
    with pytest.raises(StoreVersionError, match=r"format 7.*format 1.*--store"):
        Store(tmp_path)


def test_a_folder_with_other_files_is_not_a_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match="--store"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="is a file"):
        Store(tmp_path / "thesis.tex")
    with pytest.raises(StoreError, match=r"cannot read .*x \(File name too long\): name another folder with --store"):
        Store(tmp_path / ("x" * 300))
