"""A filtered run to publish: church, drawn by a random tiny model, decided on by a judge that says what it was told."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import datasets
import pytest
from huggingface_hub import close_session, constants
from huggingface_hub.utils import _http, disable_progress_bars

from ecgvf.core import concepts
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.filter import stage as filter_stage
from ecgvf.render import render
from tests.ecgvf.small_run import Oracle, church_pairs, pair, write_pairs
from tests.hub_server import Hub
from tests.random_janus import build

PORT = urlsplit(constants.ENDPOINT).port or 0  # tests/conftest.py has chosen it

FilterResult = Callable[..., Store]


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("janus"))


@pytest.fixture
def filtered(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> FilterResult:
    """Fills a store with a run of ``train`` pairs and ``test`` prompts, of which the last of each is rejected."""

    def fill(store: Store, train: int = 4, test: int = 2, *, twins: int = 1, concept: str = "church") -> Store:
        pairs = church_pairs(train, test)
        pairs += [
            pair(f"a church by pond {number}", f"a hotel by pond {number}", "duplicate") for number in range(twins)
        ]
        write_pairs(store, pairs, concept)
        known = concepts.find(concept)
        render(ConceptRun(store, known), model=str(tiny_path), device="cpu", guidance=2.0)
        answers = [True, False] * (train - 1) + [True, True] + [True] * (test - 1) + [False] * min(test, 1)
        with monkeypatch.context() as patch:
            patch.setattr(filter_stage, "create_judge", lambda *_: Oracle(answers))
            filter_stage.filter_images(ConceptRun(store, known))
        return store

    return fill


@pytest.fixture
def store(filtered: FilterResult, tmp_path: Path) -> Store:
    return filtered(Store(tmp_path / "store"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The Hub of the tests, spoken to by the real clients as `owner`, with a cache of its own and no waiting."""
    with Hub(tmp_path / "hub", PORT).running() as running:
        speak_to(running, tmp_path / "hf", monkeypatch)
        yield running


def speak_to(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, token: str | None = "hf_owner") -> None:
    """Let the clients of this process use ``hub``; a new ``home`` forgets what was downloaded."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
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
