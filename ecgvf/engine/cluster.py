"""Actors of a Ray cluster, or of a local one that is started for the run (extra ``ray``)."""

import os
import socket
import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import pyarrow as pa

from ecgvf.core import console
from ecgvf.core.errors import EngineError, SettingsError
from ecgvf.core.files import JSON
from ecgvf.engine.host import Host
from ecgvf.engine.local import RETRIES
from ecgvf.engine.pool import WorkerDied, WorkerPool
from ecgvf.engine.work import Description, Pool, Setup

_CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` writes the address of this machine's cluster."""
_PATIENCE = 60
"""Seconds without a worker after which the user reads what the run waits for."""


@dataclass(frozen=True)
class RayEngine:
    """An actor for each worker. It loads the model once.

    Raises ``SettingsError`` for a value out of range.
    """

    address: str | None = None
    """``ray://HOST:PORT``, or None: the cluster that ``RAY_ADDRESS`` or `ray start` names, else a local one."""
    gpus: float | None = None
    """Of each worker; below 1 for several workers on a GPU. None: 1 if the cluster has GPUs."""
    cpus: float = 1
    """Of each worker."""
    least: int = 1
    """Workers that must have started before the first shard is handed out."""
    most: int | None = None
    """Workers at once. None: as many as the cluster has room for when the run starts."""
    retries: int = RETRIES
    """How often a shard whose worker died is given to another one."""

    def __post_init__(self) -> None:
        if self.least < 1 or (self.most is not None and self.most < self.least):
            raise SettingsError(f"{self.least} to {self.most} workers: at least 1, and at most not below at least")
        if self.retries < 0 or self.cpus < 0 or (self.gpus is not None and self.gpus < 0):
            raise SettingsError(f"{self.gpus} GPUs, {self.cpus} CPUs, {self.retries} retries: they must be 0 or more")

    @contextmanager
    def open(self, setups: Mapping[str, Setup]) -> Iterator[Pool]:
        """See ``Engine.open``. Raises ``EngineError`` without Ray, or if the cluster cannot be reached."""
        with connected(self.address):
            crew = _RayCrew(self, cloudpickle.dumps(dict(setups)))
            try:
                yield WorkerPool(crew, self.retries)
            finally:
                crew.close()


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to the cluster; one that the caller is connected to already is used, and left connected."""
    existing = address or os.environ.get("RAY_ADDRESS") or _current_cluster()
    if existing is not None:
        _check_reachable(existing)
    if existing is None or existing.startswith("127."):
        # Read when ray is imported: a cluster of this run alone listens on loopback, and reports to nobody.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the future default, without its warning
    try:
        import ray
    except ImportError as error:
        raise EngineError("--engine ray needs Ray: pip install 'ecgvf[ray]'") from error
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"include_dashboard": False} if existing is None else {}
    try:
        ray.init(address=existing or "local", log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise EngineError(f"cannot connect to the Ray cluster {existing or 'of this run'}: {reason}") from error
    try:
        with redirect_stdout(sys.stderr):  # where Ray reports dead workers; standard output may be one JSON object
            yield
    finally:
        ray.shutdown()


def _current_cluster() -> str | None:
    """HOST:PORT of the cluster that `ray start` has started on this machine."""
    return _CURRENT_CLUSTER.read_text(encoding="utf-8").strip() if _CURRENT_CLUSTER.is_file() else None


def _check_reachable(address: str) -> None:
    """Raise ``EngineError`` unless somebody listens at ``address``: Ray tries for many minutes."""
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if not port.isdecimal():
        return  # Ray knows other forms, such as "auto"
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"no Ray cluster answers at {address} ({error}): start it, name another with --engine ray://HOST:PORT or "
            f"RAY_ADDRESS, or run `ray stop` if {_CURRENT_CLUSTER} is left over"
        ) from error


class _Actor:
    """A ``Host`` in an actor. Its model is loaded by the first call, so that creating it cannot fail."""

    def __init__(self, setups: bytes) -> None:
        self._setups = setups
        self._host: Host | None = None

    def start(self) -> None:
        """Answered when the actor is there."""

    def describe(self, name: str) -> Description:
        return self._opened().describe(name)

    def run_if(self, facts: JSON, name: str, tasks: Any, circumstances: JSON) -> pa.Table:
        return self._opened().run_if(facts, name, tasks, circumstances)

    def _opened(self) -> Host:
        if self._host is None:
            self._host = Host(cloudpickle.loads(self._setups))
        return self._host


class _RayCrew:
    """Actors, of which those that the cluster has no room for yet are waited for: an autoscaler sees them."""

    def __init__(self, engine: RayEngine, setups: bytes) -> None:
        import ray

        resources = ray.cluster_resources()
        gpus = engine.gpus if engine.gpus is not None else min(1.0, resources.get("GPU", 0.0))
        room = resources.get("GPU", 0.0) / gpus if gpus else resources.get("CPU", 1.0) / (engine.cpus or 1)
        self.most = engine.most or max(engine.least, int(room), 1)
        self._needs = f"{gpus:g} GPUs and {engine.cpus:g} CPUs"
        self._least = engine.least
        self._actor = ray.remote(_Actor).options(num_gpus=gpus, num_cpus=engine.cpus, max_restarts=0)
        self._setups = ray.put(setups)
        self._calls: dict[Any, Any] = {}  # reference of the answer → actor
        self._idle: list[Any] = []
        self._heard = False

    def start(self, count: int) -> None:
        for _ in range(min(max(count, self._least), self.most) - len(self._calls) - len(self._idle)):
            actor = self._actor.remote(self._setups)
            self._calls[actor.start.remote()] = actor

    def idle(self) -> Sequence[Hashable]:
        if len(self._idle) >= self._least:
            self._least = 1  # reached once
            return list(self._idle)
        return []

    def call(self, worker: Any, method: str, *arguments: Any) -> None:
        self._idle.remove(worker)
        self._calls[getattr(worker, method).remote(*arguments)] = worker

    def wait(self) -> tuple[Hashable, Any]:
        import ray

        patience = None if self._heard else _PATIENCE
        while not (finished := ray.wait(list(self._calls), num_returns=1, timeout=patience)[0]):
            patience = None
            console.note(f"waiting for workers: each needs {self._needs} of the cluster")
        self._heard = True
        actor = self._calls.pop(finished[0])
        try:
            answer = ray.get(finished[0])
        except ray.exceptions.RayTaskError as error:
            answer = error.cause if isinstance(error.cause, Exception) else error
        except ray.exceptions.RayError as error:
            ray.kill(actor)  # if only its node is out of reach
            reason = (str(error) or type(error).__name__).splitlines()[0]
            return actor, WorkerDied(reason.rstrip("."))
        self._idle.append(actor)
        return actor, answer

    def close(self) -> None:
        import ray

        for actor in [*self._calls.values(), *self._idle]:
            ray.kill(actor)
