"""Steps, log and checkpoint of the training loop."""

import itertools
import json
from pathlib import Path

import torch
from torch import nn

from tools.nano.training_loop import TrainingLoop


def make_loop(folder: Path, seconds: float, module: nn.Module) -> TrainingLoop:
    """A loop whose steps take a second each."""
    return TrainingLoop(folder, seconds, {"module": module}, {"rounds": 0}, clock=itertools.count().__next__)


def train(loop: TrainingLoop, module: nn.Linear, stop_at: int | None = None) -> None:
    for step in loop.steps(lambda: {"weight": round(module.weight.item(), 3)}):
        if step == stop_at:
            return
        module.weight.data += 1
        loop.extra_state["rounds"] += 1


def test_a_loop_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    module = nn.Linear(1, 1)
    nn.init.zeros_(module.weight)
    train(make_loop(tmp_path, 3, module), module)
    fresh = nn.Linear(1, 1)
    resumed = make_loop(tmp_path, 5, fresh)
    assert resumed.resumed and (resumed.spent, resumed.step, resumed.extra_state) == (3, 3, {"rounds": 3})
    train(resumed, fresh)
    assert fresh.weight.item() == 5 and resumed.progress == 1
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(row["step"], row["weight"]) for row in rows] == [(3, 3.0), (5, 5.0)]


def test_steps_after_the_last_checkpoint_are_repeated(tmp_path: Path) -> None:
    module = nn.Linear(1, 1)
    nn.init.zeros_(module.weight)
    train(make_loop(tmp_path, 2, module), module)
    train(make_loop(tmp_path, 9, module), module, stop_at=4)
    assert module.weight.item() == 4
    train(make_loop(tmp_path, 3, module), module)
    assert module.weight.item() == 3


def test_a_finished_loop_takes_no_step(tmp_path: Path) -> None:
    module = nn.Linear(1, 1)
    train(make_loop(tmp_path, 2, module), module)
    before = torch.clone(module.weight)
    train(make_loop(tmp_path, 2, module), module)
    assert torch.equal(module.weight, before)
