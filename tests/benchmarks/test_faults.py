"""The fault campaign with few kills; `make faults` kills ten times as often, and workers of rendering, too."""

import multiprocessing
import random
import signal
from pathlib import Path

import pytest

from benchmarks import faults
from ecgvf.core import console

pytestmark = pytest.mark.faults


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_killed_stages_write_the_same_bytes_when_they_are_run_again(tmp_path: Path, tiny_path: Path) -> None:
    with console.progress("kills", 6) as bar:
        stages = faults.kill_stages(tmp_path, 1, str(tiny_path), 12, random.Random(1), bar)
    assert list(stages) == ["generate", "render", "filter", "train"]
    assert [(stage["kills"], stage["equal"]) for stage in stages.values()] == [(1, 1), (3, 3), (1, 1), (1, 1)]


def test_a_stage_that_something_else_kills_is_no_run_to_compare_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = multiprocessing.get_context("spawn").Process(target=signal.raise_signal, args=(signal.SIGKILL,))
    child.start()
    monkeypatch.setattr(faults, "_start", lambda *_: child)
    with pytest.raises(SystemExit, match="_render failed with exit code -9"):
        faults._run(faults._render, tmp_path, "model", pairs=1)
