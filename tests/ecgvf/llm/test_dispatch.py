"""Dispatch: the calls in flight when a run is stopped, on a clock that does not wait."""

import asyncio
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ecgvf.llm import rate_limit
from ecgvf.llm.budget import Budget
from ecgvf.llm.calls import Call
from ecgvf.llm.dispatch import Conversation, dispatch
from ecgvf.llm.ledger import Ledger
from ecgvf.llm.registry import LLMWriter, Rates, WriterConfig
from tests.ecgvf.llm.skipping_clock import without_waiting
from tests.ecgvf.llm.small_call import call

SECONDS = 250
"""How long an answer takes: a writer that thinks."""


class SlowClient:
    async def send(self, call: Call) -> str:
        await asyncio.sleep(SECONDS)
        return json.dumps({"choices": [{"message": {"content": "[]"}, "finish_reason": "stop"}]})

    async def close(self) -> None:
        pass


class Job:
    """Two calls, one after the other."""

    config = WriterConfig(sdk="openai", base_url="http://localhost/v1", model="m", timeout_s=300)
    writer = LLMWriter("gpt", config, Rates(input=Decimal(1), output=Decimal(1)), True)

    def conversations(self) -> list[Conversation]:
        def converse() -> Conversation:
            yield call()
            yield call(iteration=1)

        return [converse()]

    def owns(self, intent: Mapping[str, Any]) -> bool:
        return True


@pytest.mark.faults
@pytest.mark.parametrize("interruptions", [1, 2])
def test_ctrl_c_waits_for_a_paid_answer_as_long_as_it_takes_and_a_second_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], interruptions: int
) -> None:
    monkeypatch.setattr(rate_limit, "open_client", lambda _: SlowClient())

    async def interrupted() -> float:
        loop = asyncio.get_running_loop()
        with Ledger(tmp_path / "ledger.jsonl").writing() as ledger:
            began = loop.time()
            running = asyncio.create_task(dispatch([Job()], ledger, Budget(Decimal(5)), lambda: None))
            for _ in range(interruptions):
                await asyncio.sleep(1)
                running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            return loop.time() - began

    seconds = without_waiting(interrupted())
    (attempt,) = Ledger(tmp_path / "ledger.jsonl").attempts()
    assert attempt.answered is (interruptions == 1)
    assert seconds == pytest.approx(SECONDS if interruptions == 1 else 2, abs=0.1)
    assert "waiting for 1 call in flight, which is paid; another Ctrl-C does not wait" in capsys.readouterr().err
