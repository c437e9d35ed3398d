"""Runs of ``ecgvf generate`` with LLM writers: the real SDKs over real HTTP, against ``LlmServer``."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core.records import PromptPair
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, StageSet
from ecgvf.core.store import Store
from ecgvf.llm import retry
from ecgvf.llm.ledger import Ledger
from tests.llm_server import SIX, LlmServer, Request

ALL = ",".join(SIX)
SDKS = {"gpt": "openai", "claude": "anthropic", "gemini": "gemini", "kimi": "openai (JSON mode)"}

KEYS = {
    f"{name}_API_KEY": f"sk-{name.lower()}-very-secret-0123456789"
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "MOONSHOT", "ARK", "DEEPSEEK")
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LlmServer]:
    """A server for all six writers, whose keys are set."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.01)
    with LlmServer().running() as running:
        yield running


@pytest.fixture
def generate(server: LlmServer, tmp_path: Path) -> Callable[..., Any]:
    """``ecgvf generate --concept church`` with these arguments; ``fields`` override fields of all writers."""

    def invoke(*arguments: str, **fields: Any) -> Any:
        registry = str(server.registry(tmp_path, **fields))
        words = ["generate", "--concept", "church", "--registry", registry, *arguments]
        return CliRunner().invoke(app, words, env={"COLUMNS": "200"})

    return invoke


def pairs_set() -> StageSet:
    """The current set of pairs."""
    return ConceptRun(Store(), Store().concept("church")).current(PAIRS)


def rows() -> list[PromptPair]:
    """The records of the current set."""
    return pairs_set().records(PromptPair)


def summary() -> dict[str, Any]:
    """The summary of the current set."""
    return pairs_set().summary


def ledger() -> Ledger:
    """The ledger of the concept."""
    return Ledger.load(ConceptRun(Store(), Store().concept("church")))


def scripted(*behaviours: str) -> Callable[[Request], str]:
    """The first requests for each model are met with these, in order; the rest is fine."""
    return lambda request: behaviours[request.number] if request.number < len(behaviours) else "fine"
