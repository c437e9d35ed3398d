"""The processes of ``benchmarks.engine``."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks import engine

FORK = multiprocessing.get_context("fork")  # a child that imports nothing


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_run_that_fails_is_named_with_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drive(*_: Any) -> None:
        os._exit(3)

    monkeypatch.setattr(multiprocessing, "get_context", lambda _: FORK)
    monkeypatch.setattr(engine, "write_pairs", lambda *_: None)
    monkeypatch.setattr(engine, "drive", drive)
    with pytest.raises(SystemExit, match="drive failed with exit code 3"):
        engine.measure(tmp_path, 1)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_a_run_sends_is_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: FORK)
    monkeypatch.setattr(engine, "write_pairs", lambda *_: None)
    monkeypatch.setattr(engine, "drive", lambda root, records, send: send.send({"images": 2 * records}))
    assert engine.measure(tmp_path, 3) == {"images": 6}
