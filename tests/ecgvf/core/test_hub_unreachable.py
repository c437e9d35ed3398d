"""Without a network: one line, and no waiting."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import close_session, constants, hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import _http
from typer import Typer
from typer.testing import CliRunner

from ear.cli import app as ear_app
from ecgvf.cli import app as ecgvf_app
from ecgvf.core import hub
from ecgvf.core.errors import HubError
from ecgvf.core.hub import hub_errors, offline_if_unreachable
from ecgvf.core.store import Store
from ecgvf.judges.clip import Encoder
from tests.ecgvf.small_run import church_pairs, write_pairs
from tests.random_clip import build

runner = CliRunner()


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that may go online, has not done so yet, and fails the test instead of waiting."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_answered", False)
    monkeypatch.setattr(hub, "_ask_again_at", 0.0)
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda _: pytest.fail("waited")))
    close_session()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_without_a_network_only_the_cache_is_read() -> None:
    with pytest.raises(HubError) as caught, hub_errors("nobody/nothing"):
        hf_hub_download("nobody/nothing", "config.json")
    assert isinstance(caught.value.__cause__, LocalEntryNotFoundError)
    assert not constants.is_offline_mode()


def test_a_hub_that_does_not_answer_in_time_is_unreachable(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", silent)
    monkeypatch.setattr(hub, "TIMEOUT", 0.1)
    with hub_errors("nobody/nothing"):
        assert constants.is_offline_mode()


def test_a_hub_that_did_not_answer_is_asked_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [100.0], []
    monkeypatch.setattr(hub, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(hub, "get_session", lambda: SimpleNamespace(head=lambda *_, **__: refuse(asked)))
    for _ in range(3):
        with offline_if_unreachable():
            assert constants.is_offline_mode()
    assert len(asked) == 1
    now[0] += hub.ASK_AGAIN
    with offline_if_unreachable():
        assert constants.is_offline_mode() and len(asked) == 2


def refuse(asked: list[int]) -> None:
    asked.append(len(asked))
    raise ConnectionError("unreachable")


def test_a_folder_does_not_wait_for_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "get_session", lambda: pytest.fail("asked the Hub"))
    with offline_if_unreachable(str(tmp_path)):
        assert constants.is_offline_mode()
    assert not constants.is_offline_mode()
    assert Encoder(str(build(tmp_path / "clip"))).weights_hash


COMMANDS = [
    (ecgvf_app, "render --model nobody/nothing", "cannot be reached for nobody/nothing"),
    (ecgvf_app, "import hub:nobody/nothing --concept church", "cannot be reached for nobody/nothing"),
    (ecgvf_app, "versions nobody/nothing", "cannot be reached for nobody/nothing"),
    (ear_app, "train --dataset hub:nobody/nothing", "cannot be reached for nobody/nothing"),
    (ear_app, "train --dataset nobody/nothing/church", "cannot be reached for nobody/nothing"),
]


@pytest.mark.parametrize(("app", "command", "message"), COMMANDS, ids=[command for _, command, _ in COMMANDS])
def test_a_command_without_a_network_fails_at_once(app: Typer, command: str, message: str, tmp_path: Path) -> None:
    write_pairs(Store(tmp_path / "store"), church_pairs(1, 1))
    done = runner.invoke(app, command.split())
    assert done.exit_code == 2, done.output
    assert message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_client_does_not_log_its_retries(tmp_path: Path) -> None:
    """In a process of its own: the client takes its level, and the stream it logs to, when it is imported."""
    write_pairs(Store(tmp_path / "store"), church_pairs(1, 1))
    command = [sys.executable, "-c", "from ecgvf.cli import main; main()", "versions", "nobody/nothing"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error ") and done.stderr.count("\n") == 1, done.stderr
