"""Batches: the same requests at half the price, whatever is killed between submitting and collecting."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core.records import PromptPair
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, StageSet
from ecgvf.core.store import Store
from ecgvf.llm import batch as batches
from ecgvf.llm import retry as retrying
from ecgvf.llm.clients import anthropic as claude
from ecgvf.llm.ledger import Ledger
from tests.ecgvf.pairs.test_llm_writers import KEYS
from tests.llm_server import FOREIGN, Batch, LlmServer

BOTH = ["gpt", "claude"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LlmServer]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(batches, "FIRST_POLL", 0.01)
    monkeypatch.setattr(claude, "_POLL_SECONDS", 0.01)
    with LlmServer().running() as running:
        yield running


@pytest.fixture
def run(server: LlmServer, tmp_path: Path) -> Callable[..., Any]:
    def typed(writers: str, *arguments: str) -> Any:
        registry = str(server.registry(tmp_path))
        words = ["generate", "--concept", "church", "--registry", registry, "--writers", writers, *arguments]
        return CliRunner().invoke(app, words)

    return typed


def pairs_set() -> StageSet:
    return ConceptRun.load(Store(), "church").current(PAIRS)


def rows() -> list[PromptPair]:
    return pairs_set().records(PromptPair)


def ledger() -> Ledger:
    return Ledger(Ledger.of(ConceptRun.load(Store(), "church")))


def test_all_iterations_go_in_one_batch_at_half_the_price(server: LlmServer, run: Callable[..., Any]) -> None:
    result = run("gpt,claude", "--batch")
    assert result.exit_code == 0, result.output
    assert [len(one.requests) for one in server.batches.values()] == [3, 3]
    assert len([row for row in rows() if row.reason is None]) > 50
    assert ledger().spent().cost == server.charged
    whole = sum(
        server.prices[one.intent["model"]].cost(one.answer["usage"]["input"], one.answer["usage"]["output"])
        for one in ledger().attempts()
        if one.answer
    )
    assert server.charged * 2 == whole
    assert "batch openai0" in result.stderr or "batch openai1" in result.stderr


@pytest.mark.parametrize("writer", BOTH)
def test_what_is_sent_is_what_a_call_would_send_and_neither_pays_for_the_other(
    server: LlmServer, run: Callable[..., Any], writer: str
) -> None:
    run(writer, "--iterations", "1")
    run(writer, "--iterations", "1", "--batch")
    assert len(server.asked) == 1 and not server.batches
    run(writer, "--iterations", "1", "--batch", "--fresh")
    call, batched = (dict(asked.body) for asked in server.asked)
    assert call.pop("stream", False) is False
    assert batched == call


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize("moment", ["before its id is written", "after"])
def test_a_batch_that_was_submitted_by_a_killed_run_is_collected_by_the_next(
    server: LlmServer, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, writer: str, moment: str
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "after":
            patch.setattr(batches._Counter, "_collect", killed)
        else:
            patch.setattr(Ledger, "batch", killed)
        assert run(writer, "--batch").exit_code == 130
    assert len(server.batches) == 1 and ledger().spent().open > 0
    result = run(writer, "--batch")
    assert result.exit_code == 0, result.output
    assert len(server.batches) == 1 and len(rows()) >= 30
    spent = ledger().spent()
    assert spent.cost == server.charged and spent.open == 0


@pytest.mark.faults
def test_another_batch_of_the_account_that_never_ends_is_told_and_hides_no_other(
    server: LlmServer, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "batch", killed)
        assert run("claude", "--batch").exit_code == 130
    server.batches["anthropicother"] = Batch([{}], polls_until_done=float("inf"))
    result = run("claude", "--batch")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if "waiting for batch" in line]
    assert "anthropic0" in line and "anthropicother" in line
    assert len(server.batches) == 2 and ledger().spent().cost == server.charged


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_a_run_that_was_killed_before_submitting_submits(
    server: LlmServer, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    from ecgvf.llm.clients.openai import OpenAIWriter

    with monkeypatch.context() as patch:
        patch.setattr(OpenAIWriter if writer == "gpt" else claude.AnthropicWriter, "submit", killed)
        assert run(writer, "--batch").exit_code == 130
    assert not server.batches
    assert run(writer, "--batch").exit_code == 0
    assert len(server.batches) == 1 and ledger().spent().open == 0


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_what_failed_or_expired_is_asked_again_and_nothing_else(
    server: LlmServer, run: Callable[..., Any], writer: str
) -> None:
    server.behave = lambda asked: {0: "expired", 2: "500"}.get(asked.number, "fine")
    result = run(writer, "--batch")
    assert result.exit_code == 0, result.output
    assert [len(one.requests) for one in server.batches.values()] == [3, 2]
    again = Counter(asked.prompt for asked in server.asked)
    assert sorted(again.values()) == [1, 2, 2]
    assert ledger().spent().cost == server.charged


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_a_result_that_is_no_answer_is_kept_possibly_paid_and_asked_again(
    server: LlmServer, run: Callable[..., Any], writer: str
) -> None:
    server.behave = lambda asked: "foreign" if asked.number == 1 else "fine"
    result = run(writer, "--batch")
    assert result.exit_code == 0 and "set aside" not in result.output
    assert [len(one.requests) for one in server.batches.values()] == [3, 1]
    assert len([row for row in rows() if row.reason is None]) > 25
    assert [json.loads(one.raw) for one in ledger().attempts() if not one.answered] == [FOREIGN]
    spent = ledger().spent()
    assert spent.cost < server.charged <= spent.total


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_results_that_are_cut_off_are_read_again_and_nothing_is_asked_again(
    server: LlmServer, run: Callable[..., Any], writer: str
) -> None:
    server.reading = ["cut", "cut"]
    result = run(writer, "--batch")
    assert result.exit_code == 0, result.output
    assert len(server.batches) == 1 and not server.reading
    assert ledger().spent().cost == server.charged and ledger().spent().open == 0


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_results_that_stay_cut_off_set_the_writer_aside_until_the_next_run(
    server: LlmServer, run: Callable[..., Any], writer: str
) -> None:
    server.reading = ["cut"] * 5
    result = run(writer, "--batch")
    assert result.exit_code == 2 and "the connection broke" in result.stderr.strip().splitlines()[-1]
    assert run(writer, "--batch").exit_code == 0
    assert len(server.batches) == 1 and ledger().spent().cost == server.charged


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_a_line_of_the_results_that_cannot_be_read_loses_no_other(
    server: LlmServer, run: Callable[..., Any], writer: str
) -> None:
    server.reading = ["garbled"]
    result = run(writer, "--batch")
    assert result.exit_code == 0 and "line 1 of a batch's results cannot be read" in result.stderr
    assert [len(one.requests) for one in server.batches.values()] == [3, 1]
    spent = ledger().spent()
    assert spent.cost < server.charged <= spent.total


@pytest.mark.parametrize("writer", BOTH)
def test_what_a_content_filter_stopped_is_not_asked_again(
    server: LlmServer, run: Callable[..., Any], writer: str
) -> None:
    server.behave = lambda asked: "filter-status" if asked.number == 1 else "fine"
    result = run(writer, "--batch")
    assert result.exit_code == 0 and "set aside" not in result.output
    assert [len(one.requests) for one in server.batches.values()] == [3]
    assert ledger().spent().cost == server.charged


@pytest.mark.faults
def test_a_second_batch_whose_id_was_not_written_is_found_again(
    server: LlmServer, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behave = lambda asked: "expired" if asked.number == 0 else "fine"
    written = Ledger.batch
    calls = iter(range(1))

    def killed(self: Ledger, *arguments: Any) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        written(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "batch", killed)
        assert run("gpt", "--batch").exit_code == 130
    assert len(server.batches) == 2
    assert run("gpt", "--batch").exit_code == 0
    spent = ledger().spent()
    assert len(server.batches) == 2 and spent.cost == server.charged and spent.open == 0


@pytest.mark.faults
def test_a_batch_that_is_gone_is_asked_again_and_counts_as_possibly_paid(
    server: LlmServer, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batches._Counter, "_collect", killed)
        assert run("gpt", "--batch").exit_code == 130
    server.batches.clear()
    result = run("gpt", "--batch")
    assert result.exit_code == 0 and "asked again" in result.stderr
    assert ledger().spent().open > 0 and len([row for row in rows() if row.reason is None]) > 25


def test_calls_that_are_under_way_in_a_batch_are_not_sent_beside_it(
    server: LlmServer, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batches._Counter, "_collect", killed)
        run("gpt", "--batch")
    sent = len(server.asked)
    result = run("gpt")
    assert result.exit_code == 2 and "--batch" in result.stderr and len(server.asked) == sent


@pytest.mark.faults
def test_what_fails_in_every_batch_is_named_and_the_rest_is_kept(server: LlmServer, run: Callable[..., Any]) -> None:
    server.behave = lambda asked: "expired" if "request 2" in asked.prompt else "fine"
    result = run("gpt", "--batch")
    assert result.exit_code == 0 and "1 calls failed or expired" in result.stderr
    assert len(server.batches) == 1 + batches.AGAIN and len(rows()) >= 20


@pytest.mark.faults
def test_a_batch_that_is_not_valid_is_handed_in_once_and_its_reason_is_told(
    server: LlmServer, run: Callable[..., Any]
) -> None:
    server.invalid = f"the key {KEYS['OPENAI_API_KEY']} has no access to this model"
    result = run("gpt,claude", "--batch")
    assert result.exit_code == 0, result.output
    assert [name for name in server.batches if name.startswith("openai")] in (["openai0"], ["openai1"])
    assert "invalid_request: the key [OPENAI_API_KEY] has no access to this model" in result.stderr
    assert "denied" in result.stderr and result.stderr.count("invalid_request") == 1
    assert ledger().spent().open == 0
    server.invalid = ""
    assert run("gpt,claude", "--batch").exit_code == 0 and {row.writer for row in rows()} == {"gpt", "claude"}


def test_the_budget_stops_a_batch_before_it_is_sent(server: LlmServer, run: Callable[..., Any]) -> None:
    result = run("gpt", "--batch", "--budget-usd", "0.17")
    assert result.exit_code == 0, result.output
    (one,) = server.batches.values()
    assert len(one.requests) == 2 and server.charged <= Decimal("0.17")
    assert "budget" in result.stderr
