"""What a user sees of a running training."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from ear.method.log import TrainingLog
from ear.method.progress import TrainingProgress
from ear.method.recipe import Recipe, ResolvedRecipe
from ear.method.recipes import ESD, ON_POLICY, WINDOWED_KL
from ear.method.rounds import most_steps
from ear.method.train import training_loop
from ecgvf.core import console
from ecgvf.janus import JanusModel, Sampling
from tests.ear.method.small_training import pair, resolved

SMALL = {"retention": 0.0, "learning_rate": 1e-4, "mixed_precision": "no"}


class Bar(console.Bar):
    """Keeps what it shows."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.done: list[int] = []

    def update(self, done: int, description: str) -> None:
        self.done.append(done)
        self.shown.append(description)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that goes on by ``seconds`` each time it is read."""
    fake = SimpleNamespace(now=0.0, seconds=1.0)

    def monotonic() -> float:
        fake.now += fake.seconds
        return fake.now

    monkeypatch.setattr("ear.method.progress.time", SimpleNamespace(monotonic=monotonic))
    return fake


@pytest.mark.parametrize(
    ("recipe", "window", "windows"),
    [
        (replace(ESD, passes=2), 1, 8),  # one random window of each image
        (replace(ON_POLICY, passes=2, rollouts=4, images_per_step=2), 16, 8),  # each image is trained on twice
        (replace(ON_POLICY, passes=2, rollouts=2, images_per_step=2), 16, 8),  # the same two images twice in a row
        (replace(WINDOWED_KL, passes=1), 8, 16),  # two trajectories of two windows
    ],
    ids=["random windows", "epochs", "a batch twice in a row", "both trajectories"],
)
def test_a_pair_counts_once_a_pass(
    recipe: Recipe, window: int, windows: int, tiny: JanusModel, clock: SimpleNamespace
) -> None:
    pairs, bar = [pair(number) for number in range(4)], Bar()
    chosen = resolved(recipe.with_options(SMALL), window=window)
    progress = TrainingProgress(bar, "erasing", len(pairs), chosen)
    training_loop(tiny, pairs, chosen, 0, sampling=Sampling(guidance=2.0), on_window=lambda state: progress(state.log))
    assert len(bar.shown) == windows
    # A window takes a second.
    assert f"{60 * len(pairs) * recipe.passes / windows:.0f} pairs a minute" in bar.shown[-1]


def show(resolved: ResolvedRecipe, pairs: int, windows: int | None = None) -> list[int]:
    """Show a training of which each second window steps; returns how far the bar is after each of its ``windows``."""
    bar, log = Bar(), TrainingLog()
    progress = TrainingProgress(bar, "erasing [church]", pairs, resolved)
    for number in range(windows or pairs):
        log.add(str(number), 0, 0.5, number % 2 == 0)
        progress(log)
    return bar.done


def test_piped_output_has_a_line_each_minute(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    clock.seconds = 20.0
    show(resolved(replace(ESD, passes=1)), 12)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("erasing [church]: window 3 of 12, loss 0.5, 67% of windows step, 3 pairs a minute")
    assert lines[0].endswith("about 3 min left") and lines[-1].endswith("about 0 min left")


def test_a_training_ends_at_its_last_step_or_its_last_window(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    clock.seconds = 20.0
    recipe = replace(ESD, passes=1, max_steps=5)
    assert (
        most_steps(100, resolved(recipe)) == most_steps(8, resolved(recipe)) == 5
        and most_steps(3, resolved(recipe)) == 3
    )
    assert show(resolved(recipe), pairs=100, windows=9) == [1, 1, 2, 2, 3, 3, 4, 4, 5]
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(", loss")[0] for line in lines] == [
        f"erasing [church]: window {window} of 100, step {step} of 5" for window, step in ((3, 2), (6, 3), (9, 5))
    ]
    assert [line.rpartition(", ")[2] for line in lines] == ["about 2 min left", "about 2 min left", "about 0 min left"]
    assert show(resolved(recipe), pairs=8) == [1, 1, 2, 2, 3, 3, 4, 5]


def test_a_terminal_has_its_bar_alone(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "err", Console(stderr=True, force_terminal=True))
    clock.seconds = 60.0
    show(resolved(replace(ESD, passes=1)), 5)
    assert capsys.readouterr().err == ""
