"""Batches: the same requests at half the price, whatever is killed between submitting and collecting."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from typing import Any

import pytest

from ecgvf.core.console import Bar
from ecgvf.core.errors import WriterError
from ecgvf.llm import batch
from ecgvf.llm.batch import BatchRunner
from ecgvf.llm.clients import anthropic
from ecgvf.llm.clients.anthropic import AnthropicClient
from ecgvf.llm.clients.openai import OpenAIClient
from ecgvf.llm.ledger import Ledger
from tests.llm_run import KEYS, ledger, rows
from tests.llm_server import FOREIGN, Batch, LlmServer

BOTH = ["gpt", "claude"]

Killed = Callable[[Any, str], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "FIRST_POLL", 0.01)
    monkeypatch.setattr(anthropic, "_POLL_SECONDS", 0.01)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Killed:
    """Within the context, the method ends the run like Ctrl-C."""

    @contextmanager
    def patched(owner: Any, method: str) -> Iterator[None]:
        def kill(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(owner, method, kill)
            yield

    return patched


def test_all_iterations_go_in_one_batch_at_half_the_price(server: LlmServer, generate: Callable[..., Any]) -> None:
    result = generate("--writers", "gpt,claude", "--batch")
    assert result.exit_code == 0, result.output
    assert [len(submitted.requests) for submitted in server.batches.values()] == [3, 3]
    assert len([row for row in rows() if row.reason is None]) > 50
    assert ledger().spent().cost == server.charged
    whole = sum(
        server.prices[attempt.intent["model"]].cost(attempt.answer["usage"]["input"], attempt.answer["usage"]["output"])
        for attempt in ledger().attempts()
        if attempt.answer
    )
    assert server.charged * 2 == whole
    assert re.search(r"batch openai[01]\b", result.stderr)


def test_the_full_price_of_a_batch_counts_where_no_discount_is_stated(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    batch = ("--writers", "gpt", "--batch", "--iterations", "1", "--json")
    estimates = [
        json.loads(generate(*batch, "--dry-run", **fields).stdout) for fields in ({}, {"batch_price_share": 1})
    ]
    assert Decimal(estimates[1]["most_usd"]) == 2 * Decimal(estimates[0]["most_usd"])
    assert generate(*batch, batch_price_share=1).exit_code == 0
    assert ledger().spent().cost == 2 * server.charged > 0  # the server does give one


@pytest.mark.parametrize("writer", BOTH)
def test_a_batch_sends_what_a_call_sends_and_neither_is_paid_twice(
    server: LlmServer, generate: Callable[..., Any], writer: str
) -> None:
    generate("--writers", writer, "--iterations", "1")
    generate("--writers", writer, "--iterations", "1", "--batch")
    assert len(server.requests) == 1 and not server.batches
    generate("--writers", writer, "--iterations", "1", "--batch", "--fresh")
    call, batched = (dict(request.body) for request in server.requests)
    assert call.pop("stream", False) is False
    assert batched == call


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize("moment", ["before its id is written", "after"])
def test_a_batch_that_was_submitted_by_a_killed_run_is_collected_by_the_next(
    server: LlmServer, generate: Callable[..., Any], killed: Killed, writer: str, moment: str
) -> None:
    with killed(*((BatchRunner, "_collect") if moment == "after" else (Ledger, "record_batch"))):
        assert generate("--writers", writer, "--batch").exit_code == 130
    assert len(server.batches) == 1 and ledger().spent().possible > 0
    result = generate("--writers", writer, "--batch")
    assert result.exit_code == 0, result.output
    assert len(server.batches) == 1 and len(rows()) >= 30
    spent = ledger().spent()
    assert spent.cost == server.charged and spent.possible == 0


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_a_batch_that_is_found_by_a_run_of_fewer_calls_is_collected_whole(
    server: LlmServer, generate: Callable[..., Any], killed: Killed, writer: str
) -> None:
    with killed(Ledger, "record_batch"):
        generate("--writers", writer, "--batch", "--iterations", "3")
    for iterations in ("2", "3"):
        result = generate("--writers", writer, "--batch", "--iterations", iterations)
        assert result.exit_code == 0, result.output
    spent = ledger().spent()
    assert len(server.batches) == 1 and spent.cost == server.charged and spent.possible == 0


@pytest.mark.faults
def test_another_batch_of_the_account_that_never_ends_hides_none_of_ours(
    server: LlmServer, generate: Callable[..., Any], killed: Killed
) -> None:
    with killed(Ledger, "record_batch"):
        assert generate("--writers", "claude", "--batch").exit_code == 130
    server.batches["anthropicother"] = Batch([{}], polls_until_done=float("inf"))
    result = generate("--writers", "claude", "--batch")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if "waiting for batch" in line]
    assert "anthropic0" in line and "anthropicother" in line
    assert len(server.batches) == 2 and ledger().spent().cost == server.charged


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_a_run_that_was_killed_before_submitting_submits_and_counts_the_first_as_possibly_paid(
    server: LlmServer, generate: Callable[..., Any], killed: Killed, writer: str
) -> None:
    with killed(OpenAIClient if writer == "gpt" else AnthropicClient, "submit"):
        assert generate("--writers", writer, "--batch").exit_code == 130
    assert not server.batches
    result = generate("--writers", writer, "--batch")
    assert result.exit_code == 0 and "lists no batch" in result.stderr
    assert len(server.batches) == 1 and ledger().spent().cost == server.charged < ledger().spent().total


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_a_batch_is_found_although_the_providers_clock_is_hours_behind(
    server: LlmServer, generate: Callable[..., Any], killed: Killed, writer: str
) -> None:
    server.clock = -12 * 60 * 60
    with killed(Ledger, "record_batch"):
        assert generate("--writers", writer, "--batch").exit_code == 130
    assert generate("--writers", writer, "--batch").exit_code == 0
    assert len(server.batches) == 1 and ledger().spent().cost == server.charged


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
@pytest.mark.parametrize("status", [500, 504])
def test_a_batch_that_was_created_although_the_server_failed_is_collected_by_the_next_run(
    server: LlmServer, generate: Callable[..., Any], writer: str, status: int
) -> None:
    server.creations = [status]
    result = generate("--writers", writer, "--batch")
    assert result.exit_code == 2 and f"status {status}" in result.stderr
    assert len(server.batches) == 1 and ledger().spent().possible >= server.charged > 0
    result = generate("--writers", writer, "--batch")
    assert result.exit_code == 0, result.output
    spent = ledger().spent()
    assert len(server.batches) == 1 and spent.cost == server.charged and spent.possible == 0


@pytest.mark.faults
def test_an_upload_that_fails_is_repeated_and_costs_nothing(server: LlmServer, generate: Callable[..., Any]) -> None:
    server.uploads = [500, 504]
    result = generate("--writers", "gpt", "--batch")
    assert result.exit_code == 0 and not server.uploads, result.output
    assert len(server.batches) == 1 and ledger().spent().total == server.charged


@pytest.mark.faults
def test_an_upload_that_takes_too_long_is_repeated_and_costs_nothing(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    server.uploads = ["hang"]
    result = generate("--writers", "gpt", "--batch", timeout_s=2)
    assert result.exit_code == 0 and not server.uploads, result.output
    assert len(server.batches) == 1 and ledger().spent().total == server.charged


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_only_what_failed_or_expired_is_sent_again(
    server: LlmServer, generate: Callable[..., Any], writer: str
) -> None:
    server.behave = lambda request: {0: "expired", 2: "500"}.get(request.number, "fine")
    result = generate("--writers", writer, "--batch")
    assert result.exit_code == 0, result.output
    assert [len(submitted.requests) for submitted in server.batches.values()] == [3, 2]
    again = Counter(request.prompt for request in server.requests)
    assert sorted(again.values()) == [1, 2, 2]
    assert ledger().spent().cost == server.charged


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_a_result_that_is_not_an_answer_is_kept_and_sent_again(
    server: LlmServer, generate: Callable[..., Any], writer: str
) -> None:
    server.behave = lambda request: "foreign" if request.number == 1 else "fine"
    result = generate("--writers", writer, "--batch")
    assert result.exit_code == 0 and "stopped after" not in result.output
    assert [len(submitted.requests) for submitted in server.batches.values()] == [3, 1]
    assert len([row for row in rows() if row.reason is None]) > 25
    assert [json.loads(attempt.raw) for attempt in ledger().attempts() if not attempt.answered] == [FOREIGN]
    spent = ledger().spent()
    assert spent.cost < server.charged <= spent.total


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_results_that_are_cut_off_are_downloaded_again(
    server: LlmServer, generate: Callable[..., Any], writer: str
) -> None:
    server.downloads = ["cut", "cut"]
    result = generate("--writers", writer, "--batch")
    assert result.exit_code == 0, result.output
    assert len(server.batches) == 1 and not server.downloads
    assert ledger().spent().cost == server.charged and ledger().spent().possible == 0


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_results_that_stay_cut_off_set_the_writer_aside_until_the_next_run(
    server: LlmServer, generate: Callable[..., Any], writer: str
) -> None:
    server.downloads = ["cut"] * 5
    result = generate("--writers", writer, "--batch")
    assert result.exit_code == 2 and "the connection broke" in result.stderr.strip().splitlines()[-1]
    assert generate("--writers", writer, "--batch").exit_code == 0
    assert len(server.batches) == 1 and ledger().spent().cost == server.charged


@pytest.mark.faults
@pytest.mark.parametrize("writer", BOTH)
def test_an_unreadable_line_of_the_results_loses_no_other(
    server: LlmServer, generate: Callable[..., Any], writer: str
) -> None:
    server.downloads = ["garbled"]
    result = generate("--writers", writer, "--batch")
    assert result.exit_code == 0 and "line 1 of a batch's results cannot be read" in result.stderr
    assert [len(submitted.requests) for submitted in server.batches.values()] == [3, 1]
    spent = ledger().spent()
    assert spent.cost < server.charged <= spent.total


@pytest.mark.parametrize("writer", BOTH)
def test_what_a_content_filter_stopped_is_not_sent_again(
    server: LlmServer, generate: Callable[..., Any], writer: str
) -> None:
    server.behave = lambda request: "filter-status" if request.number == 1 else "fine"
    result = generate("--writers", writer, "--batch")
    assert result.exit_code == 0 and "stopped after" not in result.output
    assert [len(submitted.requests) for submitted in server.batches.values()] == [3]
    assert ledger().spent().cost == server.charged


@pytest.mark.faults
def test_a_second_batch_whose_id_was_not_written_is_found(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behave = lambda request: "expired" if request.number == 0 else "fine"
    written = Ledger.record_batch
    calls = iter(range(1))

    def kill_second(self: Ledger, *arguments: Any) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        written(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record_batch", kill_second)
        assert generate("--writers", "gpt", "--batch").exit_code == 130
    assert len(server.batches) == 2
    assert generate("--writers", "gpt", "--batch").exit_code == 0
    spent = ledger().spent()
    assert len(server.batches) == 2 and spent.cost == server.charged and spent.possible == 0


@pytest.mark.faults
def test_a_batch_that_is_gone_is_sent_again_and_counts_as_possibly_paid(
    server: LlmServer, generate: Callable[..., Any], killed: Killed
) -> None:
    with killed(BatchRunner, "_collect"):
        assert generate("--writers", "gpt", "--batch").exit_code == 130
    server.batches.clear()
    result = generate("--writers", "gpt", "--batch")
    assert result.exit_code == 0 and "sent again" in result.stderr
    assert ledger().spent().possible > 0 and len([row for row in rows() if row.reason is None]) > 25


@pytest.mark.parametrize(("owner", "method"), [(BatchRunner, "_collect"), (Ledger, "record_batch")])
def test_a_batch_at_another_address_waits_until_the_writer_is_there_again(
    server: LlmServer, generate: Callable[..., Any], killed: Killed, owner: Any, method: str
) -> None:
    with killed(owner, method):  # after its id was written, and before
        generate("--writers", "gpt", "--batch")
    with LlmServer().running() as other:
        for arguments in (("--iterations", "1"), ("--batch",)):
            result = generate("--writers", "gpt", *arguments, base_url=f"{other.url}/openai/v1")
            assert result.exit_code == 0, result.output
        assert generate("--writers", "gpt", "--batch").exit_code == 0
        spent = ledger().spent()
        assert len(server.batches) == len(other.batches) == 1
        assert spent.cost == server.charged + other.charged and spent.possible == 0


@pytest.mark.parametrize(("owner", "method"), [(BatchRunner, "_collect"), (Ledger, "record_batch")])
def test_calls_in_a_batch_are_not_sent_beside_it(
    server: LlmServer, generate: Callable[..., Any], killed: Killed, owner: Any, method: str
) -> None:
    with killed(owner, method):  # after its id was written, and before
        generate("--writers", "gpt", "--batch")
    sent = len(server.requests)
    result = generate("--writers", "gpt")
    assert result.exit_code == 2 and "--batch" in result.stderr and len(server.requests) == sent


@pytest.mark.parametrize("options", [(), ("--split", "test", "--count", "10", "--fresh")], ids=["split", "fresh"])
@pytest.mark.parametrize("writer", BOTH)
def test_a_batch_of_another_split_or_from_before_fresh_is_not_waited_for(
    server: LlmServer, generate: Callable[..., Any], killed: Killed, writer: str, options: tuple[str, ...]
) -> None:
    with killed(BatchRunner, "_collect"):
        generate("--writers", writer, "--batch", "--split", "test", "--count", "10")
    result = generate("--writers", writer, "--batch", *options)
    assert result.exit_code == 0, result.output
    earlier, now = server.batches.values()
    assert earlier.polls == 0 < now.polls


def test_the_advice_about_a_batch_names_the_split_and_what_must_stay_the_same(
    server: LlmServer, generate: Callable[..., Any], killed: Killed
) -> None:
    command = ("--writers", "gpt", "--split", "test", "--count", "10")
    with killed(BatchRunner, "_collect"):
        generate(*command, "--batch")
    result = generate(*command)
    assert result.exit_code == 2
    assert "run `ecgvf generate --split test --batch` with the same concept, writers, templates" in result.stderr


def test_the_progress_bar_counts_each_call_once_also_answered_and_repaired_ones(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    monkeypatch.setattr(Bar, "advance", lambda _, count=1: steps.append(count))
    server.behave = lambda request: "chatter" if request.number == 0 else "fine"
    for iterations in (2, 3):
        steps.clear()
        result = generate("--writers", "gpt", "--batch", "--iterations", str(iterations), structure="text")
        assert result.exit_code == 0 and sum(steps) == iterations, result.output
    assert len(server.requests) == 4


@pytest.mark.faults
def test_what_fails_in_every_batch_is_reported_and_the_rest_is_kept(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    server.behave = lambda request: "expired" if "request 2" in request.prompt else "fine"
    result = generate("--writers", "gpt", "--batch")
    assert result.exit_code == 0 and "1 call failed or expired" in result.stderr
    assert len(server.batches) == 1 + batch.RESUBMISSIONS and len(rows()) >= 20


@pytest.mark.faults
def test_an_invalid_batch_is_submitted_once_and_its_reason_is_reported(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    server.invalid = f"the key {KEYS['OPENAI_API_KEY']} has no access to this model"
    result = generate("--writers", "gpt,claude", "--batch")
    assert result.exit_code == 0, result.output
    assert [name for name in server.batches if name.startswith("openai")] in (["openai0"], ["openai1"])
    assert "invalid_request: the key [OPENAI_API_KEY] has no access to this model" in result.stderr
    assert "gpt stopped after 0 answers" in result.stderr and result.stderr.count("invalid_request") == 1
    assert ledger().spent().possible == 0
    server.invalid = ""
    assert generate("--writers", "gpt,claude", "--batch").exit_code == 0 and {row.writer for row in rows()} == {
        "gpt",
        "claude",
    }


@pytest.mark.faults
def test_if_a_client_cannot_be_opened_the_others_are_closed_and_nothing_is_sent(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    close = OpenAIClient.close

    async def closing(client: OpenAIClient) -> None:
        closed.append("gpt")
        await close(client)

    def fail(*_: object) -> None:
        raise WriterError("no client")

    monkeypatch.setattr(OpenAIClient, "close", closing)
    monkeypatch.setattr(AnthropicClient, "__init__", fail)
    assert generate("--writers", "gpt,claude", "--batch").exit_code == 2
    assert closed == ["gpt"] and not server.requests and not server.batches


def test_calls_beyond_the_budget_are_submitted_once_a_batch_has_cost_less(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    result = generate("--writers", "gpt", "--batch", "--budget-usd", "0.17")  # the most that two calls can cost
    assert result.exit_code == 0 and "stopped after" not in result.output, result.output
    assert [len(submitted.requests) for submitted in server.batches.values()] == [2, 1]
    assert ledger().spent().cost == server.charged <= Decimal("0.17")


def test_a_writer_waits_for_what_the_batch_of_another_does_not_cost(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    result = generate("--writers", "gpt,claude", "--batch", "--budget-usd", "0.30")
    assert result.exit_code == 0 and "stopped after" not in result.output, result.output
    assert {row.writer for row in rows()} == {"gpt", "claude"} and len(server.requests) == 6
    assert ledger().spent().cost == server.charged <= Decimal("0.30")


@pytest.mark.faults
@pytest.mark.parametrize(("owner", "method"), [(BatchRunner, "_collect"), (Ledger, "record_batch")])
def test_a_writer_waits_for_the_batch_of_another_that_an_earlier_run_submitted(
    server: LlmServer, generate: Callable[..., Any], killed: Killed, owner: Any, method: str
) -> None:
    with killed(owner, method):
        assert generate("--writers", "gpt", "--batch", "--budget-usd", "0.30").exit_code == 130
    result = generate("--writers", "claude,gpt", "--batch", "--budget-usd", "0.30")
    assert result.exit_code == 0 and "stopped after" not in result.output, result.output
    assert {row.writer for row in rows()} == {"gpt", "claude"} and len(server.requests) == 6


def test_the_budget_stops_a_batch_before_it_is_sent(server: LlmServer, generate: Callable[..., Any]) -> None:
    server.behave = lambda _: "foreign"  # possibly paid, at the most that a call can cost
    result = generate("--writers", "gpt", "--batch", "--budget-usd", "0.17")
    (submitted,) = server.batches.values()
    assert len(submitted.requests) == 2 and ledger().spent().total <= Decimal("0.17")
    reached = f"budget: ${ledger().spent().total:.4f} of $0.1700 is spent or reserved, and the next call may cost $0.08"
    assert result.exit_code == 2 and reached in result.stderr
    assert generate("--writers", "gpt", "--batch", "--budget-usd", "0.01", "--fresh").exit_code == 2
    assert len(server.batches) == 1


@pytest.mark.faults
def test_a_call_that_always_fails_does_not_keep_the_others_from_a_small_budget(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    server.behave = lambda request: "expired" if "request 1" in request.prompt else "fine"
    result = generate("--writers", "gpt", "--batch", "--budget-usd", "0.09")  # the most that one call can cost
    assert result.exit_code == 0 and "1 call failed or expired in 3 batches" in result.stderr, result.output
    assert {row.iteration for row in rows()} == {1, 2}


def test_a_batch_that_is_collected_later_frees_what_it_did_not_cost(
    server: LlmServer, generate: Callable[..., Any], killed: Killed
) -> None:
    command = ("--writers", "gpt", "--batch", "--budget-usd", "0.17")  # the most that two of the three calls can cost
    with killed(BatchRunner, "_collect"):
        assert generate(*command).exit_code == 130
    result = generate(*command)
    assert result.exit_code == 0 and "stopped after" not in result.output, result.output
    assert [len(submitted.requests) for submitted in server.batches.values()] == [2, 1]
    assert ledger().spent().cost == server.charged <= Decimal("0.17")
