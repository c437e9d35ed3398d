"""The campaign of calls in a small form; `make faults` runs the whole of it."""

from pathlib import Path

import pytest

from benchmarks.paid_once import campaign
from tests.llm_run import KEYS


@pytest.mark.faults
def test_faults_and_kills_lose_no_pair_and_pay_for_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    result = campaign(tmp_path, iterations=6, kills=2)
    assert result["met"], result
    assert result["answered"] >= 36 and result["kills"] == 2 and result["faults"] > 3
