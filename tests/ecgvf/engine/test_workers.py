"""What an engine promises, whoever works: the same shards, whatever happens to the workers."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from ecgvf.core.errors import DeviceFailed, EngineError, ModelError
from ecgvf.core.shard_set import BatchTooLarge, ShardSet
from ecgvf.engine import Description, Engine, FillPlan, Processes, ThisProcess, local, local_engine
from ecgvf.engine.local import _ProcessGroup
from ecgvf.engine.pool import WorkerDied, WorkerPool
from tests.ecgvf.engine.squares import SHARDS, contents, fill, setup, squares

TWO = Processes([{}, {}])


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, bytes]:
    fill(ThisProcess(), squares(tmp_path / "expected" / "set"))
    return contents(tmp_path / "expected" / "set")


def test_two_processes_write_what_this_process_writes(tmp_path: Path, expected: dict[str, bytes]) -> None:
    assert fill(TWO, squares(tmp_path / "set")) == [10]
    assert contents(tmp_path / "set") == expected
    assert ShardSet(tmp_path / "set", {"numbers": 10}, "test").circumstances == {"batch_size": 8}
    assert fill(TWO, squares(tmp_path / "set")) == [0]


def test_nothing_is_opened_if_nothing_is_missing(tmp_path: Path) -> None:
    fill(ThisProcess(), squares(tmp_path / "set"))

    def opened() -> Any:
        raise AssertionError("opened")

    assert fill(ThisProcess(), squares(tmp_path / "set"), squares=opened) == [0]


@pytest.mark.parametrize("engine", [ThisProcess(), TWO], ids=["here", "processes"])
def test_a_shard_of_a_later_set_is_made_as_soon_as_its_input_is_there(tmp_path: Path, engine: Engine) -> None:
    order: list[tuple[str, int]] = []

    class Ordered(ShardSet):
        def write_shard(self, index: int, table: pa.Table) -> None:
            order.append((self.path.name, index))
            super().write_shard(index, table)

    class Doubling:
        description = Description({}, {"batch_size": 1})

        def __call__(self, tasks: Sequence[pa.Table], circumstances: Any, advance: Any) -> pa.Table:
            advance(1)
            return pa.table({"double": [2 * value for value in tasks[0]["square"].to_pylist()]})

    @contextmanager
    def doubling() -> Iterator[Doubling]:
        yield Doubling()

    first = squares(tmp_path / "first")
    first = FillPlan(**{**vars(first), "shard_set": Ordered(tmp_path / "first", {"numbers": 10}, "test")})
    second = FillPlan(
        setup="doubles",
        shard_set=Ordered(tmp_path / "second", {"doubles": 10}, "test"),
        tasks=lambda index: [first.shard_set.read_shard(index)],
        sizes=[1] * len(SHARDS),
        description="doubling",
        after=(first.shard_set,),
    )
    assert fill(engine, first, second, doubles=doubling) == [10, 5]
    assert second.shard_set.read()["double"].to_pylist() == [2 * number * number for number in range(10)]
    written = [name for name, _ in order]
    assert written.index("second") < len(written) - 1 - written[::-1].index("first")


@pytest.mark.faults
def test_the_shard_of_a_worker_that_is_killed_is_made_by_another(
    tmp_path: Path, expected: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    killed = tmp_path / "killed"

    def behave(tasks: list[int], _: Any) -> None:
        if 3 in tasks and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    assert fill(TWO, squares(tmp_path / "set"), squares=setup(behave)) == [10]
    assert killed.exists() and contents(tmp_path / "set") == expected
    shard = tmp_path / "set" / "shard-00001.parquet"
    assert f"a worker died while making {shard} (signal SIGKILL): another worker takes" in capsys.readouterr().err


@pytest.mark.faults
def test_a_shard_that_kills_every_worker_ends_the_run_and_the_others_stay(tmp_path: Path) -> None:
    def behave(tasks: list[int], _: Any) -> None:
        if 5 in tasks:
            os._exit(7)

    plan = squares(tmp_path / "set")
    with pytest.raises(
        EngineError, match=r"3 workers died while making .*shard-00002.parquet \(the last: exit code 7\)"
    ):
        fill(Processes([{}, {}], retries=2), plan, squares=setup(behave))
    assert len(plan.shard_set.shards()) >= 1
    assert fill(ThisProcess(), squares(tmp_path / "set"))[0] < 10


@pytest.mark.faults
def test_a_gpu_that_stays_broken_is_given_up_while_another_works(
    tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[bool] = []
    popen = subprocess.Popen

    def noted(*arguments: Any, env: dict[str, str], **options: Any) -> subprocess.Popen[bytes]:
        started.append("BROKEN" in env)
        return popen(*arguments, env=env, **options)

    monkeypatch.setattr(subprocess, "Popen", noted)
    failed, waited = tmp_path / "failed", list[bool]()
    os.mkfifo(failed)

    def behave(*_: Any) -> None:
        if "BROKEN" in os.environ:
            if failed.exists():
                failed.write_text("")
                failed.unlink()
            raise DeviceFailed("cuda:0 failed")
        if not waited:  # until the other has failed
            waited.append(True)
            failed.read_text()

    assert fill(Processes([{}, {"BROKEN": "1"}]), squares(tmp_path / "set"), squares=setup(behave)) == [10]
    assert contents(tmp_path / "set") == expected
    assert started == [False, True]


@pytest.mark.faults
def test_a_worker_that_dies_before_it_reads_its_setups_is_a_dead_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    large = setup(weights="0" * 10_000_000)  # more than a pipe holds
    for retries, message in ((0, "a worker died while starting"), (1, "2 workers died while starting (the last:")):
        with pytest.raises(EngineError, match=re.escape(message)):
            fill(Processes([{}], retries=retries), squares(tmp_path / "set"), large=large)


@pytest.mark.parametrize("engine", [ThisProcess(), TWO], ids=["here", "processes"])
def test_batches_that_do_not_fit_are_halved_for_every_worker_and_recorded(tmp_path: Path, engine: Engine) -> None:
    def behave(_: list[int], circumstances: Any) -> None:
        if circumstances["batch_size"] > 2:
            raise BatchTooLarge(circumstances["batch_size"], circumstances["batch_size"])

    plan = squares(tmp_path / "set")
    fill(engine, plan, squares=setup(behave))
    assert plan.shard_set.read()["batch"].to_pylist() == [2] * 10
    circumstances = plan.shard_set.circumstances
    assert (circumstances["batch_size"], circumstances["halved"]) == (2, [[0, 4], [0, 2]])


@pytest.mark.parametrize("engine", [ThisProcess(), Processes([{}])], ids=["here", "processes"])
def test_a_batch_that_does_not_fit_is_freed_before_it_is_tried_again(tmp_path: Path, engine: Engine) -> None:
    class Batch:
        pass

    tried: list[weakref.ref[Batch]] = []

    def behave(_: list[int], circumstances: Any) -> None:
        assert not any(reference() for reference in tried), "still in memory"
        batch = Batch()
        tried.append(weakref.ref(batch))
        try:
            if circumstances["batch_size"] > 2:
                raise MemoryError
        except MemoryError as error:
            raise BatchTooLarge(circumstances["batch_size"], circumstances["batch_size"]) from error

    assert fill(engine, squares(tmp_path / "set"), squares=setup(behave)) == [10]


@pytest.mark.parametrize("engine", [ThisProcess(), TWO], ids=["here", "processes"])
def test_batches_that_another_driver_recorded_hold_for_this_one(tmp_path: Path, engine: Engine) -> None:
    another = ShardSet(tmp_path / "set", {"numbers": 10}, "test")

    def behave(*_: Any) -> None:
        if not another.shards():
            another.record_circumstances(batch_size=4)

    plan = squares(tmp_path / "set")
    fill(engine, plan, squares=setup(behave))
    assert plan.shard_set.read()["batch"].to_pylist() == [4] * 10


@pytest.mark.faults
def test_a_worker_that_differs_from_the_first_is_refused(tmp_path: Path) -> None:
    begun, second_opened = tmp_path / "begun", tmp_path / "second"
    os.mkfifo(second_opened)
    first, second = setup(lambda *_: second_opened.read_text(), model="a"), setup(model="b")

    def differing() -> Any:
        if begun.exists():
            second_opened.write_text("")  # until then the first is busy
            return second()
        begun.touch()
        return first()

    with pytest.raises(EngineError, match=r"differs from the first worker \(model: a here, b there\)"):
        fill(TWO, squares(tmp_path / "set"), squares=differing)


def test_a_worker_that_starts_meanwhile_is_not_asked_what_it_is() -> None:
    class TwoWorkers:
        """Whose answers come in the order of their calls; the second starts while the first answers."""

        max_workers = 2

        def __init__(self) -> None:
            self.free: list[str] = []
            self.answers: deque[tuple[str, Any]] = deque([("first", None), ("second", None)])

        def start(self, count: int) -> None:
            pass

        def idle(self) -> Sequence[Hashable]:
            return list(self.free)

        def call(self, worker: Any, method: str, *arguments: Any) -> None:
            self.free.remove(worker)
            self.answers.append((worker, Description({"name": arguments[0]}, {})))

        def wait(self) -> tuple[Hashable, Any]:
            worker, answer = self.answers.popleft()
            self.free.append(worker)
            return worker, answer

    pool = WorkerPool(TwoWorkers(), retries=0)
    assert [pool.describe(name).facts["name"] for name in ("images", "verdicts")] == ["images", "verdicts"]


def test_an_error_of_a_worker_is_raised_here_as_it_is(tmp_path: Path) -> None:
    def known(*_: Any) -> None:
        raise ModelError("no such model")

    def bug(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ModelError, match="no such model"):
        fill(TWO, squares(tmp_path / "set"), squares=setup(known))
    with pytest.raises(ZeroDivisionError) as caught:
        fill(TWO, squares(tmp_path / "set"), squares=setup(bug))
    assert "in bug" in caught.value.__notes__[0]


@pytest.mark.faults
def test_workers_end_with_their_driver(tmp_path: Path) -> None:
    script = f"""
import os, time
from contextlib import contextmanager
from pathlib import Path
from ecgvf.engine import Description, Processes

@contextmanager
def opened():
    Path({str(tmp_path)!r}, str(os.getpid())).touch()
    time.sleep(100)
    yield

with Processes([{{}}]).open({{"slow": opened}}) as pool:
    pool.describe("slow")
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as driver:
        assert _eventually(lambda: any(tmp_path.iterdir()))
        driver.kill()
    [file] = tmp_path.iterdir()
    assert _eventually(lambda: not _running(int(file.name)))


def _eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _running(pid: int) -> bool:
    """Whether a process works; one that has ended and that nobody waits for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# Which engine this machine gets


def test_every_visible_gpu_gets_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert local_engine() == Processes([{"CUDA_VISIBLE_DEVICES": str(gpu)} for gpu in range(3)])
    assert local_engine(max_workers=2) == Processes([{"CUDA_VISIBLE_DEVICES": str(gpu)} for gpu in range(2)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-1,7")
    assert local_engine() == Processes([{"CUDA_VISIBLE_DEVICES": gpu} for gpu in ("5", "GPU-1", "7")])
    assert isinstance(local_engine("cuda:1"), ThisProcess)
    assert isinstance(local_engine(max_workers=1), ThisProcess)
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert isinstance(local_engine(), ThisProcess)


def busy(count: int) -> _ProcessGroup:
    """A group whose workers do not notice that their connections are closed."""
    group = _ProcessGroup([{}] * count, b"")
    for number in range(count):
        ours, theirs = Pipe()
        theirs.close()
        group._processes[number] = subprocess.Popen(["sleep", "60"]), ours
    return group


def test_busy_workers_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[float] = []
    wait = subprocess.Popen.wait

    def noted(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if timeout is not None:  # a killed process is waited for without one
            timeouts.append(timeout)
        return wait(self, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", noted)
    busy(3).close()
    assert 0 < timeouts[0] <= local._GRACE and timeouts[1:] == pytest.approx([0.0, 0.0])


def test_a_worker_that_a_real_time_signal_ended_is_reported() -> None:
    group = busy(1)
    group._processes[0][0].send_signal(signal.SIGRTMIN + 1)
    number, died = group.wait()
    assert number == 0 and isinstance(died, WorkerDied) and str(died) == f"signal {signal.SIGRTMIN + 1}"
