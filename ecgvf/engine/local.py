"""This machine: this process, or one process per visible GPU."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

import cloudpickle

from ecgvf.core.errors import DeviceFailed
from ecgvf.core.shard_set import BatchTooLarge
from ecgvf.engine.host import Host
from ecgvf.engine.pool import WorkerDied, WorkerPool
from ecgvf.engine.schedule import open_schedule
from ecgvf.engine.work import Description, Engine, FillPlan, Pool, Setup

RETRIES = 3
"""How often a shard whose worker died is given to another worker."""


def local_engine(device: str = "auto", *, max_workers: int | None = None) -> Engine:
    """The engine of this machine: one process per visible GPU, at most ``max_workers``.

    It is this process if there is one GPU or none, if ``device`` names a device, or if a launcher such as torchrun has
    started one process per GPU already.
    """
    if device != "auto" or "LOCAL_RANK" in os.environ:
        return ThisProcess()
    import torch  # takes seconds

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
    gpus = names[: torch.cuda.device_count()][:max_workers]
    return Processes([{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus]) if len(gpus) > 1 else ThisProcess()


class ThisProcess:
    """The engine of one GPU, and of a CPU."""

    @contextmanager
    def open(self, setups: Mapping[str, Setup]) -> Iterator[Pool]:
        """See ``Engine.open``."""
        host = Host(setups)
        try:
            yield _HostPool(host)
        finally:
            host.close()


class _HostPool:
    def __init__(self, host: Host) -> None:
        self._host = host

    def describe(self, name: str) -> Description:
        return self._host.describe(name)

    def fill(self, *plans: FillPlan) -> list[int]:
        with open_schedule(plans, self.describe) as schedule:
            while (job := schedule.next()) is not None:
                done = 0

                def advance(tasks: int, job: Any = job) -> None:
                    nonlocal done
                    done += tasks
                    schedule.advance(job, done)

                try:
                    table = self._host.run(job.setup, schedule.tasks(job), job.circumstances, advance)
                except BatchTooLarge as error:
                    schedule.halve_batches(job, error)
                else:
                    schedule.write(job, table)
        return schedule.due


@dataclass(frozen=True)
class Processes:
    """One process per entry of ``environments``: variables such as CUDA_VISIBLE_DEVICES that the process gets."""

    environments: Sequence[Mapping[str, str]]
    retries: int = RETRIES

    @contextmanager
    def open(self, setups: Mapping[str, Setup]) -> Iterator[Pool]:
        """See ``Engine.open``."""
        group = _ProcessGroup(self.environments, cloudpickle.dumps(dict(setups)))
        try:
            yield WorkerPool(group, self.retries)
        finally:
            group.close()


_GRACE = 0.5
"""Seconds that processes have to end before they are killed."""


class _ProcessGroup:
    """Python processes that run ``ecgvf.engine.process``, named by the index of their environment.

    They are not forked, which CUDA does not survive, nor started by multiprocessing, which would import the user's
    script in each.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]], setups: bytes) -> None:
        self.max_workers = len(environments)
        self._environments, self._setups = environments, setups
        self._processes: dict[int, tuple[subprocess.Popen[bytes], Connection[Any, Any]]] = {}
        self._idle: list[int] = []
        self._failed: set[int] = set()

    def start(self, count: int) -> None:
        free = [n for n in range(len(self._environments)) if n not in self._processes and n not in self._failed]
        for number in free[: max(0, count - len(self._processes))]:
            ours, theirs = Pipe()
            inherited = {name: value for name, value in os.environ.items() if name != "LOCAL_RANK"}
            environment = {**inherited, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            process = subprocess.Popen(
                [sys.executable, "-m", "ecgvf.engine.process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**environment, **self._environments[number]},
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C interrupts the driver, which ends them
            )
            theirs.close()
            self._processes[number] = process, ours
            with suppress(OSError):  # it has died: ``wait`` says so
                ours.send_bytes(self._setups)

    def idle(self) -> Sequence[Hashable]:
        return list(self._idle)

    def call(self, worker: Any, method: str, *arguments: Any) -> None:
        self._idle.remove(worker)
        with suppress(OSError):  # likewise
            self._processes[worker][1].send_bytes(cloudpickle.dumps((method, arguments)))

    def wait(self) -> tuple[Hashable, Any]:
        connections = {connection: number for number, (_, connection) in self._processes.items()}
        busy = [connection for connection, number in connections.items() if number not in self._idle]
        [first, *_] = wait(busy)
        number = connections[first]  # type: ignore[index]
        try:
            answer = cloudpickle.loads(self._processes[number][1].recv_bytes())
        except (EOFError, OSError):
            return number, WorkerDied(self._end(number))
        if isinstance(answer, DeviceFailed):
            self._end(number)
            if self.max_workers > 1:  # its GPU may fail at every shard: the others do its work
                self._failed.add(number)
                self.max_workers -= 1
            return number, WorkerDied(str(answer))
        self._idle.append(number)
        return number, answer

    def close(self) -> None:
        for _, connection in self._processes.values():
            connection.close()  # of all before any is waited for
        deadline = time.monotonic() + _GRACE
        for number in list(self._processes):
            self._end(number, max(0.0, deadline - time.monotonic()))

    def _end(self, number: int, grace: float = _GRACE) -> str:
        """End a process if it has not ended within ``grace`` seconds; return how it did."""
        process, connection = self._processes.pop(number)
        connection.close()
        try:
            code = process.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code >= 0:
            return f"exit code {code}"
        return f"signal {next((known.name for known in signal.Signals if known == -code), -code)}"  # real-time: unnamed
