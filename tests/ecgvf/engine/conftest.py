"""A real Ray for the tests of this folder, and a cluster that is there before a command runs."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ecgvf.engine.cluster import connected
from tests.loopback import free_port


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """A Ray of these tests' own, on loopback, whatever cluster this machine has: engines of this process use it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "local")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # or Ray writes a token to the user's home
        connection = connected(None)
        connection.__enter__()
    yield
    connection.__exit__(None, None, None)


@dataclass(frozen=True)
class Head:
    """A cluster of one machine, as `ray start --head` starts it."""

    client: str
    """Address of its client port."""
    environment: dict[str, str]
    """In which commands find it without an address."""
    folder: Path
    """Where its processes log."""

    def log(self) -> str:
        """What its servers for clients have logged, for a test that cannot connect."""
        files = sorted(self.folder.rglob("ray_client_server*"))
        return "\n".join(f"{file.name}: {file.read_text(errors='replace')}" for file in files)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A cluster of two CPUs on loopback, in processes of its own."""
    ports = [free_port() for _ in range(2)]
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is too long a path for Ray's sockets
        environment = {
            **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "RAY_TMPDIR": folder,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback only
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",  # Ray's default as soon as a user has a token
            "RAY_AUTH_TOKEN": "0" * 64,
        }
        command = (
            f"{sys.executable} -m ray.scripts.scripts start --head --block --node-ip-address 127.0.0.1 --num-cpus 2"
            f" --port {ports[0]} --ray-client-server-port {ports[1]} --include-dashboard false"
            " --min-worker-port 0 --max-worker-port 0"
        )
        with subprocess.Popen(
            command.split(), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            deadline = time.monotonic() + 120
            while not (Path(folder, "ray", "ray_current_cluster").is_file() and _listens(ports[1])):
                assert process.poll() is None and time.monotonic() < deadline, "Ray does not start"
                time.sleep(0.2)
            yield Head(f"ray://127.0.0.1:{ports[1]}", environment, Path(folder))
            process.terminate()  # which ends the processes of the cluster


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
