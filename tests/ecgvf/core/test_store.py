import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core import concepts
from ecgvf.core.errors import DiskFull, StageMissing, StoreCorrupt, StoreError, StoreVersionError
from ecgvf.core.files import write_atomic
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, StageSet, fingerprint
from ecgvf.core.store import Store

SETTINGS = {"writer": "offline", "pairs": 60, "nested": {"seed": 0}}


def table(*values: int) -> pa.Table:
    return pa.table({"value": pa.array(values, pa.int64())})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def finished(store: Store, settings: dict[str, Any] = SETTINGS) -> StageSet:
    stage = ConceptRun(store, concepts.find("church")).stage_set(PAIRS, settings)
    stage.write_shard(0, table(1, 2))
    stage.write_shard(1, table(3))
    stage.finish({"pairs": 3})
    return stage


# A set from beginning to end


def test_a_finished_set_is_current_and_reads_back_in_order(store: Store) -> None:
    stage = finished(store)
    current = ConceptRun.load(store, "church").current(PAIRS)
    assert current.fingerprint == stage.fingerprint
    assert current.read()["value"].to_pylist() == [1, 2, 3]
    assert current.settings == SETTINGS
    assert current.summary == {"pairs": 3}


def test_the_manifest_tells_settings_versions_times_rows_and_hashes(store: Store) -> None:
    manifest = finished(store).manifest
    assert manifest["settings"] == SETTINGS
    assert manifest["rows"] == 3
    assert set(manifest["files"]) == {"shard-00000.parquet", "shard-00001.parquet"}
    assert {"ecgvf", "python", "pyarrow"} <= set(manifest["versions"])
    assert manifest["started"] <= manifest["ended"]
    assert manifest["seconds"] >= 0


def test_nothing_is_created_before_something_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    stage = ConceptRun(store, concepts.find("church")).stage_set(PAIRS, SETTINGS)
    assert not stage.done(0)
    assert stage.shards() == [] and not stage.finished and stage.changed_settings == []
    assert not (tmp_path / "store").exists()


def test_an_unfinished_set_goes_on_where_it_was(store: Store) -> None:
    ConceptRun(store, concepts.find("church")).stage_set(PAIRS, SETTINGS).write_shard(0, table(1))
    again = ConceptRun(store, concepts.find("church")).stage_set(PAIRS, SETTINGS)
    assert again.done(0) and not again.done(1)
    with pytest.raises(StageMissing, match=r"ecgvf generate.*interrupted after 1 shard"):
        ConceptRun.load(store, "church").current(PAIRS)
    again.write_shard(1, table(2))
    again.finish({})
    assert ConceptRun.load(store, "church").current(PAIRS).read()["value"].to_pylist() == [1, 2]


def test_equal_runs_write_equal_bytes(tmp_path: Path) -> None:
    one, two = finished(Store(tmp_path / "one")), finished(Store(tmp_path / "two"))
    assert [file.read_bytes() for file in one.shards()] == [file.read_bytes() for file in two.shards()]


def test_circumstances_are_kept_from_the_first_shard_on(store: Store) -> None:
    stage = ConceptRun(store, concepts.find("church")).stage_set(PAIRS, SETTINGS)
    assert stage.record_circumstances(batch_size=64, threads=2) == {"batch_size": 64, "threads": 2}
    assert stage.record_circumstances(batch_size=8, threads=2) == {"batch_size": 8, "threads": 2}
    stage.write_shard(0, table(1))
    again = ConceptRun(store, concepts.find("church")).stage_set(PAIRS, SETTINGS)
    assert again.record_circumstances(batch_size=16, threads=1) == {"batch_size": 8, "threads": 2}


def test_a_finished_set_is_not_written_again(store: Store) -> None:
    with pytest.raises(StoreCorrupt, match="is finished"):
        finished(store).write_shard(2, table(4))


def test_working_time_leaves_out_the_pause_between_two_runs(store: Store) -> None:
    stage = finished(store)
    log = stage.path / "log.jsonl"
    assert stage.seconds < 5
    assert sum(json.loads(line)["seconds"] for line in log.read_text().splitlines() if line) == stage.seconds


# Several sets


def test_a_changed_setting_opens_a_set_beside_the_old_one_and_says_which_moved(store: Store) -> None:
    first = finished(store)
    second = ConceptRun(store, concepts.find("church")).stage_set(
        PAIRS, {**SETTINGS, "pairs": 80, "nested": {"seed": 1}}
    )
    assert second.fingerprint != first.fingerprint
    assert second.changed_settings == ["nested.seed: 0 → 1", "pairs: 60 → 80"]
    assert ConceptRun.load(store, "church").current(PAIRS).fingerprint == first.fingerprint


def test_finishing_an_older_set_again_makes_it_current(store: Store) -> None:
    first = finished(store)
    second = finished(store, {**SETTINGS, "pairs": 80})
    assert ConceptRun.load(store, "church").current(PAIRS).fingerprint == second.fingerprint
    manifest = first.manifest
    ConceptRun(store, concepts.find("church")).stage_set(PAIRS, SETTINGS).finish({"ignored": True})
    assert ConceptRun.load(store, "church").current(PAIRS).fingerprint == first.fingerprint
    assert first.manifest == manifest


def test_a_set_can_be_chosen_by_the_start_of_its_fingerprint(store: Store) -> None:
    first = finished(store)
    second = finished(store, {**SETTINGS, "pairs": 80})
    assert {one.fingerprint for one in ConceptRun.load(store, "church").sets(PAIRS)} == {
        first.fingerprint,
        second.fingerprint,
    }
    assert ConceptRun.load(store, "church").open(PAIRS, first.fingerprint[:6]).fingerprint == first.fingerprint
    with pytest.raises(StageMissing, match="no set"):
        ConceptRun.load(store, "church").open(PAIRS, "zz")
    with pytest.raises(StageMissing, match="more than one set"):
        ConceptRun.load(store, "church").open(PAIRS, "")


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=5))
def test_a_fingerprint_does_not_depend_on_the_order_of_the_settings(settings: dict[str, Any]) -> None:
    assert fingerprint(settings) == fingerprint(dict(reversed(settings.items())))
    assert fingerprint(settings) != fingerprint({**settings, "longer key": 1})
    assert len(fingerprint(settings)) == 12


# The concept remembered


def test_commands_without_a_concept_take_the_last_one(store: Store) -> None:
    store.remember(concepts.find("church"))
    store.remember(concepts.find("cat"))
    assert store.last_concept() == "cat"
    assert store.concept() == concepts.find("cat")
    assert store.concept("church").name == "church"
    assert store.concepts() == ["cat", "church"]


def test_an_empty_store_says_what_to_run(store: Store) -> None:
    with pytest.raises(StageMissing, match="ecgvf generate --concept NAME"):
        store.concept()
    with pytest.raises(StageMissing, match="ecgvf generate --concept church"):
        store.concept("church")
    with pytest.raises(StageMissing, match="ecgvf generate"):
        ConceptRun.load(store, "church").current(PAIRS)


# Bad input


@pytest.mark.parametrize("name", ["", "..", "../etc", "a/b", "/etc", "A", "a b", "a\x00"])
def test_names_from_users_never_become_paths_unchecked(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="cannot name a folder"):
        store.stage(name, PAIRS, {})
    with pytest.raises(StoreError, match="cannot name a folder"):
        store.concept(name)


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 7}')
    with pytest.raises(StoreVersionError, match=r"format 7.*format 1.*--store"):
        Store(tmp_path)


def test_a_folder_of_other_things_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match="--store"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="is a file"):
        Store(tmp_path / "thesis.tex")


@pytest.mark.faults
@pytest.mark.parametrize("when", ["before finish", "after finish"])
def test_a_hand_edited_shard_is_named(store: Store, when: str) -> None:
    stage = ConceptRun(store, concepts.find("church")).stage_set(PAIRS, SETTINGS)
    stage.write_shard(0, table(1))
    if when == "after finish":
        stage.finish({})
    pq.write_table(table(99), stage.shard(0))
    again = ConceptRun(store, concepts.find("church")).stage_set(PAIRS, SETTINGS)
    for use in (again.read, lambda: again.done(0), lambda: again.read_shard(0)):
        with pytest.raises(StoreCorrupt, match=r"shard-00000\.parquet is not what was written.*ecgvf generate"):
            use()
    if when == "before finish":
        with pytest.raises(StoreCorrupt, match="shard-00000"):
            again.finish({})


@pytest.mark.faults
def test_an_edited_shard_is_named_even_where_the_log_was_edited_too(store: Store) -> None:
    stage = finished(store)
    pq.write_table(table(99), stage.shard(0))
    digest = hashlib.sha256(stage.shard(0).read_bytes()).hexdigest()
    with (stage.path / "log.jsonl").open("a") as log:
        log.write(json.dumps({"shard": 0, "sha256": digest, "rows": 1, "seconds": 0}) + "\n")
    with pytest.raises(StoreCorrupt, match="shard-00000"):
        ConceptRun.load(store, "church").current(PAIRS).read()


@pytest.mark.faults
def test_a_lost_shard_is_named(store: Store) -> None:
    stage = finished(store)
    stage.shard(1).unlink()
    with pytest.raises(StoreCorrupt, match=r"shard-00001\.parquet is gone"):
        ConceptRun.load(store, "church").current(PAIRS).read()


@pytest.mark.faults
def test_edited_settings_are_named(store: Store) -> None:
    stage = finished(store)
    file = stage.path / "settings.json"
    file.write_text(file.read_text().replace("60", "61"))
    with pytest.raises(StoreCorrupt, match=r"settings\.json"):
        ConceptRun.load(store, "church").current(PAIRS)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["settings.json", "manifest.json"])
def test_json_that_is_broken_is_named(store: Store, name: str) -> None:
    (finished(store).path / name).write_text("{")
    with pytest.raises(StoreCorrupt, match=name):
        ConceptRun.load(store, "church").current(PAIRS).read()


@pytest.mark.faults
def test_current_that_names_nothing_is_named(store: Store) -> None:
    finished(store)
    (store.folder("church", PAIRS) / "current").write_text("../../..")
    with pytest.raises(StoreCorrupt, match="current"):
        ConceptRun.load(store, "church").current(PAIRS)


@pytest.mark.faults
def test_a_line_of_the_log_that_was_cut_short_loses_nothing_else(store: Store) -> None:
    stage = ConceptRun(store, concepts.find("church")).stage_set(PAIRS, SETTINGS)
    stage.write_shard(0, table(1))
    with (stage.path / "log.jsonl").open("a") as log:
        log.write('{"shard": 1, "sha2')
    again = ConceptRun(store, concepts.find("church")).stage_set(PAIRS, SETTINGS)
    again.write_shard(1, table(2))
    last = ConceptRun(store, concepts.find("church")).stage_set(PAIRS, SETTINGS)
    assert last.done(0) and last.done(1)


# A full disk


@pytest.mark.faults
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_leaves_the_old_file_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    file = tmp_path / "file"
    write_atomic(file, b"old")

    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match=r"no space left.*run the same command again"):
        write_atomic(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.faults
def test_after_a_full_disk_the_same_run_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = ConceptRun(store, concepts.find("church")).stage_set(PAIRS, SETTINGS)
    stage.write_shard(0, table(1, 2))
    with monkeypatch.context() as patch:

        def full(self: Path, target: Path) -> Path:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(Path, "replace", full)
        with pytest.raises(DiskFull):
            stage.write_shard(1, table(3))
    again = ConceptRun(store, concepts.find("church")).stage_set(PAIRS, SETTINGS)
    assert again.done(0) and not again.done(1)
    again.write_shard(1, table(3))
    again.finish({})
    assert again.read()["value"].to_pylist() == [1, 2, 3]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot write"):
        Store(tmp_path / "store").stage("church", PAIRS, {}).write_shard(0, table(1))
    tmp_path.chmod(0o700)
