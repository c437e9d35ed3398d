"""Actors of a Ray cluster, or of a local one that is started for the run (extra ``ray``)."""

import math
import os
import socket
import sys
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cloudpickle
import pyarrow as pa
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from ecgvf.core import console
from ecgvf.core.errors import DeviceFailed, EngineError, SettingsError, first_line
from ecgvf.core.files import JSON
from ecgvf.engine.host import Host
from ecgvf.engine.local import RETRIES
from ecgvf.engine.pool import WorkerDied, WorkerPool
from ecgvf.engine.work import Description, Pool, Setup

_PATIENCE = 60
"""Seconds without a working worker until a note says what the run is waiting for."""
_CONNECTION_TRIES = "2"
"""How often Ray asks a server that listens but does not answer, for 40 seconds each; Ray's default is 20 times."""
_CONNECTIONS = 3
"""How often to connect if Ray aborts the connection."""
_PAUSE = 10
"""Seconds between two connections: the servers that Ray starts at once for each may fail for the same reason."""


@dataclass(frozen=True)
class RayEngine:
    """Workers are actors of a Ray cluster, and each loads the model once.

    Raises ``SettingsError`` for a value out of range.
    """

    address: str | None = None
    """``ray://HOST:PORT``, or None: the cluster that ``RAY_ADDRESS`` or `ray start` names, else a local one."""
    gpus_per_worker: float | None = None
    """Below 1, several workers share a GPU. None: 1 if the cluster has GPUs, else 0."""
    min_workers: int = 1
    """Workers to wait for before the first shard is handed out."""
    max_workers: int | None = None
    """None: as many as the cluster has room for when the run starts."""
    retries: int = RETRIES
    """How often a shard whose worker died is given to another worker."""

    def __post_init__(self) -> None:
        if self.min_workers < 1:
            raise SettingsError(f"--min-workers {self.min_workers}: it must be at least 1")
        if self.max_workers is not None and self.max_workers < self.min_workers:
            raise SettingsError(
                f"--max-workers {self.max_workers}: it must be at least --min-workers ({self.min_workers})"
            )
        for name, amount in (("--gpus-per-worker", self.gpus_per_worker or 0), ("--retries", self.retries)):
            if not (math.isfinite(amount) and amount >= 0):
                raise SettingsError(f"{name} {amount}: it must be 0 or more")

    @contextmanager
    def open(self, setups: Mapping[str, Setup]) -> Iterator[Pool]:
        """See ``Engine.open``. Raises ``EngineError`` without Ray, or if the cluster cannot be reached, or is lost."""
        with connected(self.address) as may_grow, _report_lost_connection():
            group = _ActorGroup(self, cloudpickle.dumps(dict(setups)), may_grow)
            try:
                yield WorkerPool(group, self.retries)
            finally:
                group.close()


@contextmanager
def connected(address: str | None) -> Iterator[bool]:
    """Connect to the cluster at ``address``, or start a local one, until the block ends. Yields whether it may grow.

    If this process is connected to a cluster already, that one is used and stays connected. Raises ``EngineError``.
    """
    already = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    asked = address or ("local" if already else os.environ.get("RAY_ADDRESS") or "auto")
    existing = {"auto": _current_cluster(), "local": None}.get(asked, asked)
    if existing is not None:
        _check_reachable(existing)
    if already:
        yield True
        return
    if existing is not None:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", _CONNECTION_TRIES)
    if existing is None or existing.startswith("127."):
        # Read when ray is imported: a cluster of this run alone listens on loopback, and reports to nobody.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the future default, without its warning
    try:
        import ray
    except ImportError as error:
        raise EngineError("--engine ray needs Ray: pip install 'ecgvf[ray]'") from error
    console.note(f"connecting to Ray at {existing}" if existing else "starting Ray on this machine")
    # "auto" rather than its address: only then Ray sends the token of its cluster.
    options: dict[str, Any] = {"address": asked} if existing else {"address": "local", "include_dashboard": False}
    options |= {"log_to_driver": False, "logging_level": "ERROR"}
    # Ray starts a server for each client, on a busy machine not always in time.
    connecting = Retrying(
        retry=retry_if_exception_type(ConnectionAbortedError),
        stop=stop_after_attempt(_CONNECTIONS),
        wait=wait_fixed(_PAUSE),
        reraise=True,
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Ray Client connection timed out")  # the error says it
            connecting(ray.init, **options)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        reason = lines[0].rstrip(".")
        if reason.endswith(":"):  # of a server's traceback
            reason += f" {lines[-1]}"
        if existing:
            reason += " (ray:// needs the client's port, 10001; a cluster with tokens needs RAY_AUTH_MODE=token)"
        raise EngineError(f"cannot connect to Ray at {existing or 'this machine'}: {reason}") from error
    try:
        with redirect_stdout(sys.stderr):  # where Ray reports dead workers; standard output may be one JSON object
            yield existing is not None
    finally:
        ray.shutdown()


@contextmanager
def _report_lost_connection() -> Iterator[None]:
    """Raise ``EngineError`` if Ray's client loses the cluster; without the client, Ray itself ends this process."""
    import grpc

    try:
        yield
    except (ConnectionError, grpc.RpcError) as error:
        raise EngineError(
            f"lost the connection to Ray ({type(error).__name__}): run the same command again to resume"
        ) from error


def _current_cluster() -> str | None:
    """HOST:PORT of the cluster that `ray start` has started on this machine."""
    file = _current_cluster_file()
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None


def _current_cluster_file() -> Path:
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp", "ray", "ray_current_cluster")


def _check_reachable(address: str) -> None:
    """Raise ``EngineError`` unless somebody listens at ``address``: Ray tries for many minutes."""
    url = urlsplit(address if "://" in address else f"ray://{address}")
    if url.scheme != "ray":
        return  # Ray has plugins for others
    try:
        host, port = url.hostname, url.port
    except ValueError:  # no number, or out of range
        host = port = None
    if not host or not port:
        raise SettingsError(f"{address}: the address of a Ray cluster is HOST:PORT, as in ray://head:10001")
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        raise EngineError(
            f"no Ray cluster answers at {address} ({error}): start it, name another with --engine ray://HOST:PORT or "
            f"RAY_ADDRESS, or run `ray stop` if {_current_cluster_file()} is left over"
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


class _ActorGroup:
    """Ray actors. Those that the cluster has no room for yet are requested all the same: an autoscaler sees them."""

    def __init__(self, engine: RayEngine, setups: bytes, may_grow: bool) -> None:
        import ray

        resources = ray.cluster_resources()
        gpus = engine.gpus_per_worker if engine.gpus_per_worker is not None else min(1.0, resources.get("GPU", 0.0))
        room = _room(resources, gpus)
        self._needs = f"{gpus:g} GPU and 1 CPU"
        self._min_workers = engine.min_workers
        self.max_workers = engine.max_workers or max(engine.min_workers, room)
        if room < engine.min_workers:
            wanted = console.counted(engine.min_workers, "worker")
            lacking = f"Ray has room for {room} of {wanted}: each needs {self._needs}"
            if not may_grow:
                raise EngineError(f"{lacking}; ask for less with --min-workers or --gpus-per-worker")
            console.note(f"{lacking}. Waiting for machines to join")
        workers = console.counted(self.max_workers, "worker")
        console.note(f"up to {workers} with {self._needs} each; the first loads the model")
        self._actor = ray.remote(_Actor).options(num_gpus=gpus, num_cpus=1, max_restarts=0)
        self._setups = ray.put(setups)
        self._calls: dict[Any, Any] = {}  # reference of the answer → actor
        self._starting: set[Any] = set()  # those references whose answer says that the actor is there
        self._idle: list[Any] = []

    def start(self, count: int) -> None:
        for _ in range(min(max(count, self._min_workers), self.max_workers) - len(self._calls) - len(self._idle)):
            actor = self._actor.remote(self._setups)
            started = actor.start.remote()
            self._calls[started] = actor
            self._starting.add(started)

    def idle(self) -> Sequence[Hashable]:
        if len(self._idle) >= self._min_workers:
            self._min_workers = 1  # reached once
            return list(self._idle)
        return []

    def call(self, worker: Any, method: str, *arguments: Any) -> None:
        self._idle.remove(worker)
        self._calls[getattr(worker, method).remote(*arguments)] = worker

    def wait(self) -> tuple[Hashable, Any]:
        import ray

        patience = _PATIENCE if len(self._starting) == len(self._calls) else None
        while not (finished := ray.wait(list(self._calls), num_returns=1, timeout=patience)[0]):
            patience = None
            here = f"{len(self._idle)} of {self._min_workers} are there"
            console.note(f"waiting for workers: {here}, each needs {self._needs}")
        [reference] = finished
        self._starting.discard(reference)
        actor = self._calls.pop(reference)
        try:
            answer = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            answer = error.cause if isinstance(error.cause, Exception) else error
        except ray.exceptions.RayError as error:
            answer = WorkerDied(first_line(error).rstrip("."))
        if isinstance(answer, DeviceFailed):
            answer = WorkerDied(str(answer))
        if isinstance(answer, WorkerDied):
            ray.kill(actor)  # if its GPU fails, or only its node is out of reach
        else:
            self._idle.append(actor)
        return actor, answer

    def close(self) -> None:
        import ray

        # If the cluster is lost, so are they, and calls of Ray would connect to another one.
        for actor in [*self._calls.values(), *self._idle] if ray.is_initialized() else []:
            ray.kill(actor)


def _room(resources: Mapping[str, float], gpus: float) -> int:
    """How many workers with ``gpus`` GPUs and a CPU each fit into a cluster with these ``resources``."""
    needed = {"CPU": 1.0, **({"GPU": gpus} if gpus else {})}
    return int(min(resources.get(name, 0.0) / amount for name, amount in needed.items()))
