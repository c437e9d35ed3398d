"""The ledger: two flushed lines per attempt, kills at any byte, and exact money."""

import errno
import fcntl
import json
import os
import re
import stat
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgvf.core.errors import DiskFull, StoreCorrupt, StoreError
from ecgvf.llm.clients.client import Failed
from ecgvf.llm.ledger import Ledger
from ecgvf.llm.registry import Rates
from tests.ecgvf.llm.small_call import call

RATES = Rates(input=Decimal("2"), output=Decimal("10"))
MOST = Decimal("0.5")


def raw(content: str = "[]", tokens: tuple[int, int] = (100, 50)) -> str:
    return json.dumps(
        {
            "model": "m-2",
            "choices": [{"message": {"content": content}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]},
        }
    )


def ledger(file: Path, secrets: dict[str, str] | None = None) -> Ledger:
    return Ledger(file, secrets)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "church" / "ledger.jsonl"


def filled(file: Path, answers: int = 1) -> None:
    with ledger(file).writing() as writing:
        for number in range(answers):
            numbered = call(iteration=number)
            writing.record_answer(numbered.hash, writing.record_intent(numbered, RATES, MOST), raw(), 0.5)


def test_the_file_has_the_permissions_that_the_umask_leaves(file: Path) -> None:
    before = os.umask(0o002)
    try:
        with ledger(file).writing():
            assert file.stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)


def test_an_attempt_is_two_lines(file: Path) -> None:
    filled(file)
    intent, answer = map(json.loads, file.read_text().splitlines())
    assert intent["call"] == answer["call"] == call().hash
    assert {"writer", "model", "concept", "split", "iteration", "restarts", "attempt", "reserved"} <= set(intent)
    assert intent["request"]["prompt"] == call().prompt
    assert (answer["raw"], answer["seconds"], answer["usage"]) == (raw(), 0.5, {"input": 100, "output": 50})
    assert (answer["model_asked"], answer["model_answered"], Decimal(answer["cost"])) == ("m", "m-2", Decimal("0.0007"))


def test_an_intent_counts_as_possibly_paid(file: Path) -> None:
    with ledger(file).writing() as writing:
        writing.record_intent(call(), RATES, MOST)
        seen = ledger(file)
        assert seen.answered_attempt(call().hash) is None
        assert (seen.spent().cost, seen.spent().possible) == (0, MOST)


def test_an_answer_is_found_by_the_calls_hash(file: Path) -> None:
    filled(file)
    found = ledger(file).answered_attempt(call().hash)
    assert found is not None and found.raw == raw()
    assert ledger(file).answered_attempt(call(prompt="another").hash) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"writer": "kimi"},
        {"model": "n"},
        {"concept": "cat"},
        {"split": "test"},
        {"iteration": 1},
        {"restarts": 1},
        {"base_url": "http://other/v1"},
        {"prompt": "x"},
        {"structure": "json"},
        {"max_output_tokens": 2},
    ],
    ids=str,
)
def test_the_hash_depends_on_whatever_decides_the_answer(changed: dict[str, object]) -> None:
    assert call(**changed).hash != call().hash


def test_the_hash_of_a_call_never_changes() -> None:
    """A ledger written by an earlier version is still found answered."""
    assert call().hash == "77685401e5e30330"
    assert call(repair=True).hash == "90f0af7e489ae4b5"
    assert call(split="test", iteration=3, restarts=2, prompt="Escríbeme “ten” 🎨").hash == "a2ffd82a82a1644a"


OLD_LEDGER = (
    '{"line":"intent","call":"77685401e5e30330","attempt":1,"at":"2026-11-01T10:00:00.000+00:00","writer":"gpt",'
    '"sdk":"openai","model":"m","concept":"church","split":"train","iteration":0,"restarts":0,'
    '"base_url":"http://localhost/v1","repair":false,"price":{"input":"2","output":"10"},"reserved":"0.5",'
    '"timeout_s":300.0,"structure":"schema","request":{"count":10,"prompt":"Write 10 prompt pairs",'
    '"template":"object/pairs@2","template_hash":"h","structure":"schema","max_output_tokens":1000}}\n'
    '{"line":"answer","call":"77685401e5e30330","attempt":1,"at":"2026-11-01T10:00:02.000+00:00","seconds":2.0,'
    '"status":200,"raw":"{}","usage":{"input":100,"output":50},"cost":"0.0007","asked":"m","answered":"m-2"}\n'
)


def test_a_ledger_of_the_first_version_is_continued_byte_for_byte(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(OLD_LEDGER)
    assert ledger(file).answered_attempt(call().hash) is not None
    with ledger(file).writing() as writing:
        writing.record_intent(call(), RATES, MOST, timeout_s=300.0, structure="schema")
    old, _, new = file.read_text().splitlines()
    assert re.sub('"at":"[^"]*"', "", new) == re.sub('"at":"[^"]*"', "", old.replace('"attempt":1', '"attempt":2'))


@pytest.mark.faults
def test_a_kill_at_any_byte_loses_no_flushed_answer_and_invents_none(file: Path) -> None:
    filled(file, answers=2)
    whole = file.read_bytes()
    first_step = whole.rindex(b',"usage":')  # from here on the second answer is on the disk
    second_answer = whole.rindex(b'{"line":"answer"')
    for length in range(whole.rindex(b'{"line":"intent"'), len(whole) + 1, 7):
        file.write_bytes(whole[:length])
        seen = ledger(file)
        assert seen.answered_attempt(call().hash) is not None
        there = seen.answered_attempt(call(iteration=1).hash)
        assert (there is not None) is (length >= first_step)
        if there is not None:
            assert there.cost == Decimal("0.0007")
        elif length > second_answer:
            assert seen.spent().possible == MOST


@pytest.mark.faults
def test_a_run_after_a_kill_appends_whole_lines_after_the_torn_one(file: Path) -> None:
    filled(file)
    file.write_bytes(file.read_bytes()[:-30])
    with ledger(file).writing() as writing:
        writing.record_intent(call(iteration=1), RATES, MOST)
    seen = ledger(file)
    assert seen.answered_attempt(call().hash) is not None
    assert len(seen.of_call(call(iteration=1).hash)) == 1


@pytest.mark.faults
def test_a_full_disk_in_the_middle_of_a_line_loses_no_later_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def half(handle: int, data: memoryview) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data[:10])

    with ledger(file).writing() as writing:
        attempt = writing.record_intent(call(), RATES, MOST)
        with monkeypatch.context() as patch, pytest.raises(DiskFull):
            patch.setattr(os, "write", half)
            writing.record_answer(call().hash, attempt, raw(), 0.1)
        other = call(iteration=1)
        writing.record_answer(other.hash, writing.record_intent(other, RATES, MOST), raw(), 0.1)
    seen = ledger(file)
    assert seen.answered_attempt(other.hash) is not None and seen.answered_attempt(call().hash) is None
    assert (seen.spent().cost, seen.spent().possible) == (Decimal("0.0007"), MOST)


def test_a_failure_costs_nothing_and_a_lost_call_possibly_everything(file: Path) -> None:
    with ledger(file).writing() as writing:
        for failed in (Failed("no", "faulty", status=500), Failed("cut", "faulty", lost=True)):
            writing.record_failure(call().hash, writing.record_intent(call(), RATES, MOST), failed, 0.1)
        writing.record_answer(call().hash, writing.record_intent(call(), RATES, MOST), raw(), 0.1)
    spent = ledger(file).spent()
    assert (spent.cost, spent.possible) == (Decimal("0.0007"), MOST)
    assert [attempt.intent["attempt"] for attempt in ledger(file).of_call(call().hash)] == [1, 2, 3]


def test_an_answer_without_usage_may_have_cost_what_was_reserved(file: Path) -> None:
    silent = json.dumps({"choices": [{"message": {"content": "[]"}, "finish_reason": "stop"}]})
    with ledger(file).writing() as writing:
        writing.record_answer(call().hash, writing.record_intent(call(), RATES, MOST), silent, 0.1)
    spent = ledger(file).spent()
    assert (spent.cost, spent.possible, spent.total) == (0, MOST, MOST)
    assert ledger(file).answered_attempt(call().hash) is not None


@pytest.mark.parametrize("body", ["<html>", raw()[:40], "{}", "[]", ""])
def test_a_body_in_another_format_is_kept_is_no_answer_and_is_possibly_paid(file: Path, body: str) -> None:
    with ledger(file).writing() as writing:
        assert not writing.record_answer(call().hash, writing.record_intent(call(), RATES, MOST), body, 0.1).answered
    whole = file.read_bytes()
    for length in (len(whole), whole.rindex(b',"usage":')):  # as it is, and killed between the two steps
        file.write_bytes(whole[:length])
        seen = ledger(file)
        assert seen.answered_attempt(call().hash) is None
        assert [attempt.raw for attempt in seen.of_call(call().hash)] == [body]
        assert (seen.spent().cost, seen.spent().possible) == (0, MOST)


def test_keys_never_reach_the_file(file: Path) -> None:
    with ledger(file, {"sk-secret": "[OPENAI_API_KEY]"}).writing() as writing:
        writing.record_answer(call().hash, writing.record_intent(call(), RATES, MOST), raw("you sent sk-secret"), 0.1)
        failed = Failed("bad key sk-secret", "denied", status=401, raw="sk-secret")
        writing.record_failure(call().hash, writing.record_intent(call(), RATES, MOST), failed, 0.1)
    assert b"sk-secret" not in file.read_bytes() and b"[OPENAI_API_KEY]" in file.read_bytes()


@pytest.mark.faults
def test_the_folder_is_synced_before_anything_is_sent(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    fsync = os.fsync

    def seen(handle: int) -> None:
        status = os.fstat(handle)
        flushed.append((stat.S_ISDIR(status.st_mode), status.st_ino))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", seen)
    with ledger(file).writing() as writing:
        writing.record_intent(call(), RATES, MOST)
    assert flushed == [(True, file.parent.stat().st_ino), (False, file.stat().st_ino)]


def test_two_runs_at_once_are_refused(file: Path) -> None:
    with (
        ledger(file).writing(),
        pytest.raises(StoreError, match="another run is sending calls"),
        ledger(file).writing(),
    ):
        pass


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_no_other_run(file: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with (
        pytest.raises(StoreError, match=r"without file locks.*put the store on another disk"),
        ledger(file).writing(),
    ):
        pass


def test_restarts_and_batches_are_remembered(file: Path) -> None:
    with ledger(file).writing() as writing:
        writing.restart(["gpt"], "train")
        writing.record_batch("b1", "gpt", {call().hash: 1})
    seen = ledger(file)
    assert seen.restarts("gpt", "train") == 1 and seen.batches["b1"]["calls"] == {call().hash: 1}
    assert seen.restarts("kimi", "train") == seen.restarts("gpt", "test") == 0


def test_a_file_that_is_not_a_ledger_is_an_error_with_its_line(file: Path) -> None:
    file.parent.mkdir()
    for line in ({"line": "answer", "call": "x"}, {"line": "intent", "call": "x", "attempt": 1}):
        file.write_text(f"{json.dumps(line)}\n")
        with pytest.raises(StoreCorrupt, match="line 1"):
            ledger(file)


@settings(max_examples=20)
@given(st.text())
def test_any_answer_is_read_back_unchanged(tmp_path_factory: pytest.TempPathFactory, answer: str) -> None:
    file = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    with ledger(file).writing() as writing:
        writing.record_answer(call().hash, writing.record_intent(call(), RATES, MOST), answer, 0.1)
    (found,) = ledger(file).of_call(call().hash)
    assert found.raw == answer
