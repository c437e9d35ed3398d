from typing import Any

import pyarrow as pa
import pytest

from ecgvf.core.errors import StageMissing, StoreCorrupt
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, StageSet

SETTINGS = {"writer": "offline", "pairs": 60, "nested": {"seed": 0}}


def finish(run: ConceptRun, settings: dict[str, Any] = SETTINGS) -> StageSet:
    stage_set = run.stage_set(PAIRS, settings)
    stage_set.write_shard(0, pa.table({"value": [1]}))
    stage_set.finish({})
    return stage_set


def test_load_takes_the_concept_that_the_store_keeps(run: ConceptRun) -> None:
    with pytest.raises(StageMissing, match="ecgvf generate"):
        ConceptRun(run.store, run.store.concept())
    run.store.remember(run.concept)
    assert ConceptRun(run.store, run.store.concept()).concept == run.concept
    assert ConceptRun(run.store, run.store.concept("church")).concept == run.concept


def test_a_stage_that_has_not_run_names_its_command(run: ConceptRun) -> None:
    with pytest.raises(StageMissing, match="run `ecgvf generate` first"):
        run.current(PAIRS)


def test_a_changed_setting_opens_a_set_beside_the_old_one(run: ConceptRun) -> None:
    first = finish(run)
    second = run.stage_set(PAIRS, {**SETTINGS, "pairs": 80, "nested": {"seed": 1}})
    assert second.fingerprint != first.fingerprint
    assert second.changed_settings == ["nested.seed: 0 → 1", "pairs: 60 → 80"]
    third = run.stage_set(PAIRS, {**SETTINGS, "nested": None, "source": {"name": "a" * 100, "rows": 3}})
    assert third.changed_settings == ['nested: {"seed": 0} → null', f'source: null → {{"name": "{"a" * 47}…']
    assert run.current(PAIRS).fingerprint == first.fingerprint


def test_a_new_set_names_a_few_changed_settings(run: ConceptRun, capsys: pytest.CaptureFixture[str]) -> None:
    finish(run, {**SETTINGS, **{f"s{number}": 0 for number in range(10)}})
    run.stage_set(PAIRS, {**SETTINGS, **{f"s{number}": 1 for number in range(10)}}).announce()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 8 and lines[6].endswith("s6: 0 → 1") and lines[7].endswith(": … and 3 other settings")


def test_finishing_an_older_set_again_makes_it_current(run: ConceptRun) -> None:
    first = finish(run)
    second = finish(run, {**SETTINGS, "pairs": 80})
    assert run.current(PAIRS).fingerprint == second.fingerprint
    manifest = first.manifest
    run.stage_set(PAIRS, SETTINGS).finish({"ignored": True})
    assert run.current(PAIRS).fingerprint == first.fingerprint
    assert first.manifest == manifest


def test_open_takes_the_start_of_a_fingerprint(run: ConceptRun) -> None:
    first, second = finish(run), finish(run, {**SETTINGS, "pairs": 80})
    assert {stage_set.fingerprint for stage_set in run.sets(PAIRS)} == {first.fingerprint, second.fingerprint}
    assert run.open(PAIRS, first.fingerprint[:6]).fingerprint == first.fingerprint
    assert run.open(PAIRS, None).fingerprint == second.fingerprint
    with pytest.raises(StageMissing, match="no set"):
        run.open(PAIRS, "zz")
    with pytest.raises(StageMissing, match="more than one set"):
        run.open(PAIRS, "")


def test_a_set_is_opened_beside_a_damaged_one(run: ConceptRun) -> None:
    first, second = finish(run), finish(run, {**SETTINGS, "pairs": 80})
    (second.path / "settings.json").write_text("{")
    for set_id in (first.fingerprint, first.fingerprint[:6]):
        assert run.open(PAIRS, set_id).fingerprint == first.fingerprint
    with pytest.raises(StoreCorrupt):
        run.open(PAIRS, second.fingerprint)


def test_a_set_that_is_not_finished_is_not_opened(run: ConceptRun) -> None:
    finish(run)
    begun = run.stage_set(PAIRS, {**SETTINGS, "pairs": 80})
    begun.write_shard(0, pa.table({"value": [1]}))
    with pytest.raises(StageMissing, match="is not finished: run `ecgvf generate` to resume"):
        run.open(PAIRS, begun.fingerprint)
    begun.finish({})
    assert run.open(PAIRS, begun.fingerprint).finished


@pytest.mark.faults
def test_a_current_file_that_names_no_set_is_named(run: ConceptRun) -> None:
    finish(run)
    (run.folder(PAIRS) / "current").write_text("../../..")
    with pytest.raises(StoreCorrupt, match="current"):
        run.current(PAIRS)
