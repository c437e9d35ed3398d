"""What all tests share: a store of their own, no network, one thread and no GPU, a tiny model."""

import os
import shutil
from functools import cache
from pathlib import Path

import pytest
import typer.testing
from hypothesis import settings

# pytest-xdist sets it for its processes, and a console reads it when it is created.
os.environ.pop("COLUMNS", None)

from ecgvf.core import console
from tests.loopback import free_port

# Every write of a store waits for the disk, which no test needs: temporary files are in memory if there is room.
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 6 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# The same examples in every run, and no deadline: a busy machine is not a failure.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")

# CliRunner builds all commands at each call, from functions that no test changes.
typer.testing._get_command = cache(typer.testing._get_command)

# Before any test imports a library that reads them.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# Nobody listens there unless a test starts a Hub on loopback (tests/hub_server.py): no test can reach another one.
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that of several processes none is left alone with them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's store or finds the user's keys; ``--json`` of an earlier test is off."""
    console.json_mode(False)
    monkeypatch.setenv("ECGVF_STORE", str(tmp_path / "store"))
    for key in [name for name in os.environ if name.endswith("_KEY") or name == "HF_TOKEN"]:
        monkeypatch.delenv(key)
    monkeypatch.delenv("ECGVF_WRITERS", raising=False)


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random tiny Janus."""
    from tools.tiny_janus import build

    return build(tmp_path_factory.mktemp("janus"))
