"""The clock, the log and the checkpoint of a training."""

import itertools
import json
from pathlib import Path

import torch
from torch import nn

from tools.nano.lesson import Lesson


def lesson(folder: Path, seconds: float, module: nn.Module) -> Lesson:
    return Lesson(folder, seconds, {"module": module}, {"rounds": 0}, clock=itertools.count().__next__)


def train(of: Lesson, module: nn.Linear, stop_at: int | None = None) -> None:
    for step in of.steps(lambda: {"weight": round(module.weight.item(), 3)}):
        if step == stop_at:
            return
        module.weight.data += 1
        of.kept["rounds"] += 1


def test_a_stopped_lesson_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    module = nn.Linear(1, 1)
    nn.init.zeros_(module.weight)
    train(lesson(tmp_path, 3, module), module)
    fresh = nn.Linear(1, 1)
    again = lesson(tmp_path, 5, fresh)
    assert again.resumed and (again.spent, again.step, again.kept) == (3, 3, {"rounds": 3})
    train(again, fresh)
    assert fresh.weight.item() == 5 and again.progress == 1
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(row["step"], row["weight"]) for row in rows] == [(3, 3.0), (5, 5.0)]


def test_what_came_after_the_last_checkpoint_is_done_again(tmp_path: Path) -> None:
    module = nn.Linear(1, 1)
    nn.init.zeros_(module.weight)
    train(lesson(tmp_path, 2, module), module)
    train(lesson(tmp_path, 9, module), module, stop_at=4)
    assert module.weight.item() == 4
    train(lesson(tmp_path, 3, module), module)
    assert module.weight.item() == 3


def test_a_finished_lesson_takes_no_step(tmp_path: Path) -> None:
    module = nn.Linear(1, 1)
    train(lesson(tmp_path, 2, module), module)
    before = torch.clone(module.weight)
    train(lesson(tmp_path, 2, module), module)
    assert torch.equal(module.weight, before)
