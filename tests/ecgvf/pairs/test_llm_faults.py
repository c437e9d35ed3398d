"""Faults of providers and networks: retries, time-outs, writers set aside, and Ctrl-C."""

import asyncio
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ecgvf import Run
from ecgvf.core import console
from ecgvf.core.errors import DiskFull
from ecgvf.llm import dispatch, retry
from ecgvf.llm.clients import open_client
from ecgvf.llm.clients.client import Failed, within
from ecgvf.llm.ledger import Ledger
from ecgvf.llm.registry import LLMWriter, Rates, Registry, WriterConfig
from tests.ecgvf.llm.small_call import call
from tests.llm_run import ledger, rows, scripted, summary
from tests.llm_server import LlmServer, Request


@pytest.mark.faults
@pytest.mark.parametrize("writer", ["gpt", "claude", "gemini"])
@pytest.mark.parametrize("fault", ["429", "429-bare", "408", "409", "500", "503", "504", "529", "cut"])
def test_temporary_faults_are_retried(server: LlmServer, generate: Callable[..., Any], writer: str, fault: str) -> None:
    server.behave = scripted(fault)
    result = generate("--writers", writer, "--iterations", "1")
    assert result.exit_code == 0, result.output
    assert len(server.requests) == 2
    spent = ledger().spent()
    assert spent.cost <= server.charged <= spent.cost + spent.possible
    assert (spent.possible > 0) is (fault in ("504", "cut"))


@pytest.mark.faults
@pytest.mark.parametrize("writer", ["gpt", "claude", "gemini"])
@pytest.mark.parametrize("behaviour", ["hang", "drip"])
def test_a_call_that_hangs_or_drips_times_out_and_is_possibly_paid(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, writer: str, behaviour: str
) -> None:
    sent, timeouts = threading.Event(), []

    def behave(request: Request) -> str:
        sent.set()
        return behaviour if request.number == 0 else "fine"

    async def soon(seconds: float, answer: Coroutine[Any, Any, str]) -> str:
        """The first time-out is short, and begins when the server has the request."""
        timeouts.append(seconds)
        if len(timeouts) > 1:
            return await within(seconds, answer)
        first = asyncio.create_task(answer)
        await asyncio.to_thread(sent.wait, 60)
        return await within(0.2, first)

    server.behave = behave
    monkeypatch.setattr(dispatch, "within", soon)
    assert generate("--writers", writer, "--iterations", "1", timeout_s=60).exit_code == 0
    assert timeouts == [60, 60]
    assert len(server.requests) == 2 and ledger().spent().possible > 0


@pytest.mark.faults
@pytest.mark.parametrize("sdk", ["openai", "anthropic", "google-genai"])
def test_a_connection_that_times_out_is_not_possibly_paid(sdk: Any) -> None:
    with ExitStack() as open_files, socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [open_files.enter_context(socket.socket()) for _ in range(4)]
        for connection in waiting:  # they fill the queue: the next one is not even connected
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
        config = WriterConfig(sdk=sdk, base_url=f"http://127.0.0.1:{port}", model="m", timeout_s=0.6)
        writer = LLMWriter("m", config, Rates(input=Decimal(1), output=Decimal(1)), True)

        async def send() -> None:
            client = open_client(writer)
            try:
                await within(60, client.send(call()))
            finally:
                await client.close()

        with pytest.raises(Failed) as raised:
            asyncio.run(send())
        assert raised.value.kind == "faulty" and not raised.value.lost


@pytest.mark.faults
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("ALL_PROXY", "socks://127.0.0.1:9"),
        ("HTTPS_PROXY", "http://me:pass-word/1@127.0.0.1:9"),
        ("SSL_CERT_FILE", "/missing/ca.pem"),
    ],
)
def test_an_environment_in_which_no_client_can_be_opened_is_one_line_and_costs_nothing(
    server: LlmServer,
    generate: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    batch: bool,
) -> None:
    monkeypatch.setenv(variable, value)
    result = generate("--writers", "gpt,claude" if batch else "gpt,claude,gemini", *(["--batch"] if batch else []))
    assert result.exit_code == 2, result.output
    assert f"${variable}" in result.stderr and "pass-word" not in result.output
    assert not server.requests and not list(ledger().attempts())


@pytest.mark.faults
def test_retry_after_is_waited_for(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 100.0)  # what would be waited without it
    server.behave = scripted("429", "429", "429")
    assert generate("--writers", "gpt,claude,gemini", "--iterations", "1").exit_code == 0
    assert len(server.requests) == 12


@pytest.mark.faults
def test_rate_limits_and_faults_have_separate_allowances(server: LlmServer, generate: Callable[..., Any]) -> None:
    busy, faulty = retry.ALLOWED["busy"], retry.ALLOWED["faulty"]
    server.behave = scripted(*["429", "500"] * faulty, *["429"] * (busy - faulty))
    assert generate("--writers", "gpt", "--iterations", "1").exit_code == 0
    assert len(server.requests) == busy + faulty + 1


@pytest.mark.faults
@pytest.mark.parametrize(("fault", "calls"), [("500", 5), ("401", 1), ("404", 1), ("no-quota", 1)])
def test_a_writer_that_keeps_failing_is_set_aside_and_the_others_finish(
    server: LlmServer, generate: Callable[..., Any], fault: str, calls: int
) -> None:
    server.behave = lambda request: fault if request.model.startswith("kimi") else "fine"
    result = generate("--writers", "gpt,kimi", "--iterations", "2")
    assert result.exit_code == 0, result.output
    assert "kimi stopped after" in result.stderr and "kimi" in summary()["set_aside"]
    assert Counter(request.model for request in server.requests) == {"gpt-6.2-sol": 2, "kimi-k2.6": calls}
    server.behave = lambda _: "fine"
    generate("--writers", "gpt,kimi", "--iterations", "2")
    assert {row.writer for row in rows()} == {"gpt", "kimi"} and summary()["set_aside"] == {}


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the note says that calls in flight are waited for."""
    event, note = threading.Event(), console.note

    def noted(message: str) -> None:
        note(message)
        if "in flight" in message:
            event.set()

    monkeypatch.setattr(console, "note", noted)
    return event


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Presses Ctrl-C while a call is in flight, by its event loop: a signal of another thread may not wake that."""
    loop: asyncio.AbstractEventLoop

    async def in_loop(seconds: float, answer: Coroutine[Any, Any, str]) -> str:
        nonlocal loop
        loop = asyncio.get_running_loop()
        return await within(seconds, answer)

    monkeypatch.setattr(dispatch, "within", in_loop)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where pytest runs in the background
    yield lambda: loop.call_soon_threadsafe(os.kill, os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.faults
def test_ctrl_c_sends_nothing_more_and_keeps_what_is_in_flight(
    server: LlmServer, generate: Callable[..., Any], interrupt: Callable[[], None], waiting: threading.Event
) -> None:
    def interrupted(request: Request) -> str:
        if request.number == 1:
            interrupt()
            waiting.wait(60)
        return "fine"

    server.behave = interrupted
    result = generate("--writers", "gpt", timeout_s=60)
    assert result.exit_code == 130 and "Run the same command again" in result.stderr
    assert "waiting for 1 call in flight" in result.stderr
    assert len(server.requests) == 2 and ledger().spent().cost == server.charged and ledger().spent().possible == 0
    server.behave = lambda _: "fine"
    assert generate("--writers", "gpt").exit_code == 0
    assert len(server.requests) == 3


@pytest.mark.faults
def test_a_second_ctrl_c_ends_at_once(
    server: LlmServer, generate: Callable[..., Any], interrupt: Callable[[], None], waiting: threading.Event
) -> None:
    ended, answered = threading.Event(), threading.Event()

    def interrupted(_: Request) -> str:
        interrupt()
        waiting.wait(60)
        interrupt()
        ended.wait(30)
        answered.set()
        return "fine"

    server.behave = interrupted
    result = generate("--writers", "gpt", timeout_s=60)
    assert not answered.is_set()
    ended.set()
    assert result.exit_code == 130 and "another Ctrl-C does not wait" in result.stderr
    assert len(server.requests) == 1 and ledger().spent().possible > 0


@pytest.mark.faults
def test_ctrl_c_in_jupyter_sends_nothing_more_and_keeps_what_is_in_flight(
    server: LlmServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    interrupt: Callable[[], None],
    waiting: threading.Event,
) -> None:
    """A cell runs inside an event loop, and is the main thread's."""
    writers = Registry(server.registry(tmp_path, timeout_s=60)).select("gpt")

    def interrupted(_: Request) -> str:
        interrupt()
        waiting.wait(60)
        return "fine"

    async def cell() -> None:
        Run("church").generate_with_llms(writers)

    server.behave = interrupted
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(cell())
    finally:
        loop.close()
    assert "waiting for 1 call in flight" in capsys.readouterr().err
    assert len(server.requests) == 1 and ledger().spent().cost == server.charged and ledger().spent().possible == 0


@pytest.mark.faults
def test_an_error_keeps_what_other_writers_have_in_flight(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, waiting: threading.Event
) -> None:
    sent, record = threading.Event(), Ledger.record_answer

    def behave(request: Request) -> str:
        if request.model.startswith("kimi"):
            sent.set()
            waiting.wait(60)
        sent.wait(60)
        return "fine"

    def full(self: Ledger, call: str, *rest: Any) -> Any:
        if self.of_call(call)[-1].intent["writer"] == "gpt":
            raise DiskFull("no space left")
        return record(self, call, *rest)

    server.behave = behave
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record_answer", full)
        result = generate("--writers", "gpt,kimi", "--iterations", "1", timeout_s=60)
    assert result.exit_code == 2 and "no space left" in result.stderr
    server.behave = lambda _: "fine"
    assert generate("--writers", "gpt,kimi", "--iterations", "1").exit_code == 0
    assert Counter(request.model for request in server.requests) == {"gpt-6.2-sol": 2, "kimi-k2.6": 1}


@pytest.mark.faults
def test_no_answer_at_all_is_a_one_line_error(server: LlmServer, generate: Callable[..., Any]) -> None:
    server.behave = lambda _: "401"
    result = generate("--writers", "gpt,claude,gemini")
    assert result.exit_code == 2 and "no writer answered" in result.stderr
    assert all(name in result.stderr for name in ("gpt", "claude", "gemini"))
