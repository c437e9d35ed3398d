"""Who writes the pairs of a suite."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ear.suite.view import SuiteView
from ecgvf.core.errors import WriterError
from ecgvf.core.stage_set import PAIRS
from tests.ear.suite.small_suite import small_suite
from tests.llm_run import server
from tests.llm_server import LlmServer

BUDGET = Decimal("0.17")
"""It covers the most that one call may cost, and not two."""

__all__ = ["server"]  # a fixture


def test_llms_write_within_the_budget_and_the_view_counts_the_dollars(
    tmp_path: Path, server: LlmServer, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECGVF_WRITERS", str(server.registry(tmp_path)))
    suite = small_suite(tmp_path, concepts=("church",), model=str(tiny_path), writers="gpt", pairs=10, tests=5)
    run = suite.run("church", 0)
    suite.write_pairs(run, 0)
    splits = {pair["split"] for pair in run.current(PAIRS).read().to_pylist() if pair["reason"] is None}
    assert splits == {"train", "test"}
    summary = SuiteView(suite).summary()
    assert "0 of 1 cells done" in summary and "$0.00 " not in summary
    calls = len(server.requests)
    suite.write_pairs(run, 0)
    assert len(server.requests) == calls


def test_pairs_and_evaluation_prompts_share_one_budget(
    tmp_path: Path, server: LlmServer, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECGVF_WRITERS", str(server.registry(tmp_path)))
    fields: dict[str, Any] = {"concepts": ("church",), "model": str(tiny_path), "writers": "gpt"}
    fields |= {"pairs": 10, "tests": 10}
    suite = small_suite(tmp_path, **fields, budget_usd=BUDGET)
    with pytest.raises(WriterError, match=r"no writer answered: gpt: .* is spent or reserved"):
        suite.write_pairs(suite.run("church", 0), 0)  # the pairs leave less than the evaluation prompts may cost
    assert len(server.requests) == 1 and server.charged < BUDGET
    suite = small_suite(tmp_path, **fields)
    suite.write_pairs(suite.run("church", 0), 0)
    assert len(server.requests) == 2


def test_without_a_key_one_line_says_what_to_do(tmp_path: Path, tiny_path: Path) -> None:
    suite = small_suite(tmp_path, concepts=("church",), model=str(tiny_path))
    with pytest.raises(WriterError, match="no key is set"):
        suite.write_pairs(suite.run("church", 0), 0)
