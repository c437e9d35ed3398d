"""What the tests of several packages share: a run, a pair with default fields, a Hub on loopback."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from huggingface_hub import close_session, constants
from huggingface_hub.utils import _http, disable_progress_bars

from ecgvf.core import concepts
from ecgvf.core import hub as hub_client
from ecgvf.core.records import PromptPair
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from tests.hub_server import Hub

PORT = urlsplit(constants.ENDPOINT).port or 0  # chosen by tests/conftest.py

BLANK = {
    "record_id": "0" * 16,
    "concept": "church",
    "kind": "object",
    "split": "train",
    "target": "a church",
    "surrogate": "a hotel",
    "target_term": "church",
    "surrogate_term": "hotel",
    "writer": "test",
    "model_asked": "m",
    "model_answered": "m",
    "template": "t",
    "template_hash": "h",
    "iteration": 0,
    "call_id": "c",
}


@pytest.fixture
def pair() -> Callable[..., PromptPair]:
    return lambda **fields: PromptPair(**(BLANK | fields))


@pytest.fixture(scope="session")
def model(tiny_path: Path) -> str:
    """A random tiny Janus, as a user names it."""
    return str(tiny_path)


@pytest.fixture
def run() -> ConceptRun:
    """Church in a new store."""
    return ConceptRun(Store(), concepts.find("church"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on loopback, used by the real clients as `owner`, with an empty cache."""
    with Hub(tmp_path / "hub", PORT).running() as running:
        use_hub(tmp_path / "hf", monkeypatch)
        yield running


def use_hub(home: Path, monkeypatch: pytest.MonkeyPatch, token: str | None = "hf_owner") -> None:
    """Let the clients of this process go online with ``token``, with their cache in ``home`` and without waiting."""
    import datasets

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_client, "_ask_again_at", 0.0)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "datasets")
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", str(home / "modules"))
    if token is None:
        monkeypatch.delenv("HF_TOKEN", raising=False)
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(_http, "time", SimpleNamespace(**{**vars(time), "sleep": lambda _: None}))
    close_session()
    datasets.disable_progress_bars()
    disable_progress_bars()
