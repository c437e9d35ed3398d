import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core import concepts, shard_set
from ecgvf.core.errors import DiskFull, SettingsError, StageMissing, StoreCorrupt
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import fingerprint
from ecgvf.core.stage_set import IMAGES, PAIRS, StageSet
from ecgvf.core.store import Store

SETTINGS = {"writer": "offline", "pairs": 60, "nested": {"seed": 0}}


def table(*values: int) -> pa.Table:
    return pa.table({"value": pa.array(values, pa.int64())})


def values(stage_set: StageSet) -> list[int]:
    read: list[int] = stage_set.read()["value"].to_pylist()
    return read


def church(folder: Path) -> ConceptRun:
    return ConceptRun(Store(folder), concepts.find("church"))


def finish(run: ConceptRun) -> StageSet:
    stage_set = run.stage_set(PAIRS, SETTINGS)
    stage_set.write_shard(0, table(1, 2))
    stage_set.write_shard(1, table(3))
    stage_set.finish({"pairs": 3})
    return stage_set


# From the first shard to the manifest


def test_a_finished_set_is_current_and_reads_back_in_order(run: ConceptRun) -> None:
    finish(run)
    current = run.current(PAIRS)
    assert values(current) == [1, 2, 3]
    assert current.settings == SETTINGS
    assert current.summary == {"pairs": 3}


def test_reading_a_shard_leaves_no_thread_that_could_abort_the_exit(run: ConceptRun) -> None:
    finish(run)
    code = """
import sys
from pathlib import Path
import psutil
from ecgvf.core import concepts
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS
from ecgvf.core.store import Store

pairs = ConceptRun(Store(Path(sys.argv[1])), concepts.find("church")).current(PAIRS)
before = psutil.Process().num_threads()
pairs.read()
print(psutil.Process().num_threads() - before)
"""
    command = [sys.executable, "-c", code, str(run.store.root)]
    assert subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout == "0\n"


def test_the_manifest_holds_settings_versions_times_rows_and_hashes(run: ConceptRun) -> None:
    stage_set = finish(run)
    manifest = stage_set.manifest
    assert manifest["settings"] == SETTINGS
    assert manifest["rows"] == 3
    assert set(manifest["files"]) == {"shard-00000.parquet", "shard-00001.parquet"}
    assert {"ecgvf", "python", "pyarrow"} <= set(manifest["versions"])
    assert manifest["started"] <= manifest["ended"]
    assert manifest["seconds"] == round(stage_set.seconds, 3)


def test_nothing_is_created_before_something_is_written(run: ConceptRun) -> None:
    stage_set = run.stage_set(PAIRS, SETTINGS)
    assert not stage_set.done(0)
    assert stage_set.shards() == [] and not stage_set.finished and stage_set.changed_settings == []
    assert not run.store.root.exists()


def test_an_interrupted_set_resumes(run: ConceptRun) -> None:
    run.stage_set(PAIRS, SETTINGS).write_shard(0, table(1))
    resumed = run.stage_set(PAIRS, SETTINGS)
    assert resumed.done(0) and not resumed.done(1)
    with pytest.raises(StageMissing, match=r"ecgvf generate.*interrupted after 1 shard"):
        run.current(PAIRS)
    resumed.write_shard(1, table(2))
    resumed.finish({})
    assert values(run.current(PAIRS)) == [1, 2]


def test_equal_runs_write_equal_bytes(tmp_path: Path) -> None:
    first, second = finish(church(tmp_path / "first")), finish(church(tmp_path / "second"))
    assert [file.read_bytes() for file in first.shards()] == [file.read_bytes() for file in second.shards()]


def test_circumstances_are_fixed_by_the_first_shard(run: ConceptRun) -> None:
    stage_set = run.stage_set(PAIRS, SETTINGS)
    assert stage_set.record_circumstances(batch_size=64, threads=2) == {"batch_size": 64, "threads": 2}
    assert stage_set.record_circumstances(batch_size=8, threads=2) == {"batch_size": 8, "threads": 2}
    stage_set.write_shard(0, table(1))
    resumed = run.stage_set(PAIRS, SETTINGS)
    assert resumed.record_circumstances(batch_size=16, threads=1) == {"batch_size": 8, "threads": 2}
    assert resumed.circumstances == {"batch_size": 8, "threads": 2}


def test_an_unfinished_set_does_not_become_current(run: ConceptRun) -> None:
    finished = finish(run)
    begun = run.stage_set(PAIRS, {"pairs": 9})
    begun.write_shard(0, table(0))
    with pytest.raises(StageMissing, match="is not finished"):
        begun.make_current()
    assert run.current(PAIRS).path == finished.path and not begun.finished


def test_a_finished_set_is_not_written_again(run: ConceptRun) -> None:
    with pytest.raises(StoreCorrupt, match="is finished"):
        finish(run).write_shard(2, table(4))


def test_of_two_processes_that_fill_a_set_the_slower_takes_what_the_faster_wrote(run: ConceptRun) -> None:
    slower = run.stage_set(PAIRS, SETTINGS)
    assert slower.missing(2) == [0, 1]
    finish(run)
    slower.write_shard(0, table(1, 2))
    slower.write_shard(1, table(3))
    slower.finish({"pairs": 3})
    assert values(slower) == [1, 2, 3]
    with pytest.raises(StoreCorrupt, match="is finished"):
        slower.write_shard(1, table(4))


def test_of_two_processes_that_fill_a_set_each_finds_what_the_other_wrote_meanwhile(run: ConceptRun) -> None:
    first, second = run.stage_set(PAIRS, SETTINGS), run.stage_set(PAIRS, SETTINGS)
    first.write_shard(0, table(1))
    assert first.missing(2) == [1] and second.missing(2) == [1]
    second.write_shard(1, table(2))
    assert first.missing(2) == []
    first.finish({})
    assert values(first) == [1, 2]


def test_a_process_that_finishes_a_set_leaves_what_another_is_writing(
    run: ConceptRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    slower, faster = (run.stage_set(PAIRS, SETTINGS) for _ in range(2))
    slower.write_shard(0, table(1))
    sync, waiting = os.fsync, iter([faster])

    def fsync(handle: int) -> None:
        for stage_set in waiting:
            stage_set.finish({})
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    slower.finish({})
    assert values(slower) == values(faster) == [1]
    assert not list(slower.path.glob("*.tmp"))


def test_seconds_leave_out_the_pause_between_two_runs(run: ConceptRun, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(shard_set.time, "monotonic", lambda: now)
    run.stage_set(PAIRS, SETTINGS).begin({})
    stage_set = run.stage_set(PAIRS, SETTINGS)
    now += 2
    stage_set.write_shard(0, table(1))
    now += 1000
    resumed = run.stage_set(PAIRS, SETTINGS)
    now += 0.5
    resumed.write_shard(1, table(2))
    resumed.finish({})
    assert resumed.seconds == resumed.manifest["seconds"] == 2.5


def test_source_is_the_set_that_the_settings_name(run: ConceptRun) -> None:
    pairs = finish(run)
    images = run.stage_set(IMAGES, {"pairs": pairs.fingerprint})
    assert images.source(PAIRS).fingerprint == pairs.fingerprint


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=5))
def test_a_fingerprint_ignores_the_order_of_the_settings(settings: dict[str, Any]) -> None:
    assert fingerprint(settings) == fingerprint(dict(reversed(settings.items())))
    assert fingerprint(settings) != fingerprint({**settings, "longer key": 1})
    assert len(fingerprint(settings)) == 12


# Filling


class Work:
    """Doubles each task; fails on the tasks in ``fails``; remembers its calls."""

    def __init__(self, fails: Sequence[int] = ()) -> None:
        self.fails, self.calls = fails, list[tuple[list[int], dict[str, Any]]]()

    def __call__(self, tasks: Sequence[int], circumstances: dict[str, Any], advance: Callable[[int], None]) -> pa.Table:
        if set(tasks) & set(self.fails):
            raise RuntimeError("interrupted")
        self.calls.append((list(tasks), circumstances))
        advance(len(tasks))
        return table(*(2 * task for task in tasks))


SHARDS = [[1, 2], [3, 4], [5]]


def test_fill_writes_every_shard_in_order(run: ConceptRun) -> None:
    stage_set, work = run.stage_set(PAIRS, SETTINGS), Work()
    assert stage_set.fill(SHARDS, work, description="doubling", circumstances={"threads": 2}) == 5
    assert values(stage_set) == [2, 4, 6, 8, 10]
    assert work.calls == [(shard, {"threads": 2}) for shard in SHARDS]


def test_fill_resumes_with_the_recorded_circumstances(run: ConceptRun) -> None:
    with pytest.raises(RuntimeError, match="interrupted"):
        run.stage_set(PAIRS, SETTINGS).fill(SHARDS, Work([3]), description="", circumstances={"threads": 2})
    resumed, work = run.stage_set(PAIRS, SETTINGS), Work()
    assert resumed.fill(SHARDS, work, description="", circumstances={"threads": 1}) == 3
    assert work.calls == [([3, 4], {"threads": 2}), ([5], {"threads": 2})]
    assert values(resumed) == [2, 4, 6, 8, 10]


def test_a_set_is_not_finished_on_another_kind_of_device(run: ConceptRun) -> None:
    stage_set = run.stage_set(PAIRS, SETTINGS)
    stage_set.begin({"device": "cuda"})
    stage_set.begin({"device": "cpu"})  # no shard yet
    stage_set.write_shard(0, table(1))
    with pytest.raises(SettingsError, match="was begun on cpu: finish it with --device cpu, or delete it"):
        stage_set.begin({"device": "cuda"})
    assert stage_set.begin({"device": "cpu"}) == {"device": "cpu"}


def test_fill_makes_a_shard_again_with_the_circumstances_that_another_process_recorded_meanwhile(
    run: ConceptRun,
) -> None:
    class Slow(Work):
        def __call__(self, *arguments: Any) -> pa.Table:
            if not self.calls:
                run.stage_set(PAIRS, SETTINGS).begin({"threads": 8})
            return super().__call__(*arguments)

    stage_set, work = run.stage_set(PAIRS, SETTINGS), Slow()
    assert stage_set.fill(SHARDS, work, description="", circumstances={"threads": 2}) == 5
    assert work.calls == [(SHARDS[0], {"threads": 2}), *((shard, {"threads": 8}) for shard in SHARDS)]
    assert values(stage_set) == [2, 4, 6, 8, 10] and stage_set.circumstances == {"threads": 8}


def test_fill_leaves_a_finished_set_as_it_is(run: ConceptRun) -> None:
    work = Work()
    assert finish(run).fill([[9]], work, description="") == 0
    assert work.calls == []


def test_fill_reports_which_settings_changed(run: ConceptRun, capsys: pytest.CaptureFixture[str]) -> None:
    finish(run)
    changed = run.stage_set(PAIRS, {**SETTINGS, "pairs": 80})
    changed.fill([[1]], Work(), description="")
    assert f"a new set of pairs, {changed.fingerprint}: pairs: 60 → 80" in capsys.readouterr().err


def test_the_manifest_of_a_finished_set_is_read_once_for_its_shards(
    run: ConceptRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = finish(run)
    read: list[str] = []
    read_json = shard_set.read_json
    monkeypatch.setattr(shard_set, "read_json", lambda file: read.append(file.name) or read_json(file))
    assert values(finished) == values(finished) == [1, 2, 3]
    assert read == ["manifest.json"]


def test_a_shard_is_read_with_the_columns_that_are_named(run: ConceptRun) -> None:
    stage_set = run.stage_set(PAIRS, SETTINGS)
    stage_set.write_shard(0, table(1, 2).append_column("image", [[b"1", b"2"]]))
    assert stage_set.read_shard(0).column_names == ["value", "image"]
    assert [each.to_pydict() for each in stage_set.tables(["value"])] == [{"value": [1, 2]}]
    assert stage_set.read_column("value") == [1, 2]


# Damage


@pytest.mark.faults
@pytest.mark.parametrize("finished", [False, True])
def test_an_edited_shard_is_named(run: ConceptRun, finished: bool) -> None:
    stage_set = run.stage_set(PAIRS, SETTINGS)
    stage_set.write_shard(0, table(1))
    if finished:
        stage_set.finish({})
    pq.write_table(table(99), stage_set.shard(0))
    edited = run.stage_set(PAIRS, SETTINGS)
    for use in (edited.read, lambda: edited.done(0), lambda: edited.read_shard(0)):
        with pytest.raises(StoreCorrupt, match=r"shard-00000\.parquet is not what was written.*ecgvf generate"):
            use()
    if not finished:
        with pytest.raises(StoreCorrupt, match="shard-00000"):
            edited.finish({})


@pytest.mark.faults
def test_a_summary_is_made_of_checked_shards(run: ConceptRun) -> None:
    stage_set = run.stage_set(PAIRS, SETTINGS)
    stage_set.write_shard(0, table(1, 2))
    written = stage_set.shard(0).read_bytes()

    def summary() -> dict[str, int]:
        return {"sum": sum(stage_set.read_column("value"))}

    pq.write_table(pa.table({"other": [1]}), stage_set.shard(0))
    with pytest.raises(StoreCorrupt, match=r"shard-00000\.parquet is not what was written"):
        stage_set.finish(summary)
    stage_set.shard(0).write_bytes(written)
    stage_set.finish(summary)
    assert stage_set.summary == {"sum": 3}


@pytest.mark.faults
def test_an_edited_shard_is_named_even_if_the_log_was_edited_too(run: ConceptRun) -> None:
    stage_set = finish(run)
    pq.write_table(table(99), stage_set.shard(0))
    digest = hashlib.sha256(stage_set.shard(0).read_bytes()).hexdigest()
    with (stage_set.path / "log.jsonl").open("a") as log:
        log.write(json.dumps({"shard": 0, "sha256": digest, "rows": 1, "seconds": 0}) + "\n")
    with pytest.raises(StoreCorrupt, match="shard-00000"):
        run.current(PAIRS).read()


@pytest.mark.faults
def test_a_lost_shard_is_named(run: ConceptRun) -> None:
    stage_set = finish(run)
    stage_set.shard(1).unlink()
    uses = (stage_set.read, stage_set.shards, lambda: stage_set.done(1), lambda: stage_set.read_shard(1))
    for use in uses:
        with pytest.raises(StoreCorrupt, match=r"shard-00001\.parquet is missing: restore it.*ecgvf generate"):
            use()
    assert not stage_set.done(2)  # it never had one


@pytest.mark.faults
def test_edited_settings_are_named(run: ConceptRun) -> None:
    file = finish(run).path / "settings.json"
    file.write_text(file.read_text().replace("60", "61"))
    with pytest.raises(StoreCorrupt, match=r"settings\.json"):
        run.current(PAIRS)


@pytest.mark.faults
@pytest.mark.parametrize(("name", "content"), [("settings.json", "{"), ("settings.json", "{}"), ("manifest.json", "{")])
def test_broken_json_is_named(run: ConceptRun, name: str, content: str) -> None:
    (finish(run).path / name).write_text(content)
    with pytest.raises(StoreCorrupt, match=name):
        run.current(PAIRS).read()


@pytest.mark.faults
def test_a_torn_line_of_the_log_loses_nothing_else(run: ConceptRun) -> None:
    stage_set = run.stage_set(PAIRS, SETTINGS)
    stage_set.write_shard(0, table(1))
    with (stage_set.path / "log.jsonl").open("a") as log:
        log.write('{"shard": 1, "sha2')
    run.stage_set(PAIRS, SETTINGS).write_shard(1, table(2))
    resumed = run.stage_set(PAIRS, SETTINGS)
    assert resumed.done(0) and resumed.done(1)


@pytest.mark.faults
def test_a_run_resumes_after_a_full_disk(run: ConceptRun, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_set = run.stage_set(PAIRS, SETTINGS)
    stage_set.write_shard(0, table(1, 2))
    with monkeypatch.context() as patch:

        def replace(self: Path, target: Path) -> Path:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(Path, "replace", replace)
        with pytest.raises(DiskFull):
            stage_set.write_shard(1, table(3))
    resumed = run.stage_set(PAIRS, SETTINGS)
    assert resumed.done(0) and not resumed.done(1)
    resumed.write_shard(1, table(3))
    resumed.finish({})
    assert values(resumed) == [1, 2, 3]
