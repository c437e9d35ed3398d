"""The progress of a suite: in one line, and as a live view in a terminal."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from ear.suite import Suite, read_spec, view
from ear.suite.view import SuiteView
from ecgvf.core import console
from tests.ear.suite.small_suite import cell_result, keep, small_suite

NANO = Path(__file__).parents[3] / "benchmarks" / "nano.yaml"
REASON = "[cuda] out of memory: " + "the other process has it all, " * 5


def test_the_summary_counts_cells_and_estimates_the_time_left_by_the_mean_of_the_finished_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(view.time, "monotonic", lambda: now)
    suite = small_suite(tmp_path, concepts=("church", "castle", "cat", "van-gogh"))
    shown = SuiteView(suite)
    castle, cat, van_gogh = shown.missing[1:]
    assert shown.summary() == "0 of 4 cells done; time left unknown until a cell is done; $0.00 spent on LLMs"
    keep(suite, cell_result(0, 0, 0), seconds=60)
    shown = SuiteView(suite)
    assert shown.missing == [castle, cat, van_gogh]
    assert shown.summary() == "1 of 4 cells done; about 3 min 00 s left; $0.00 spent on LLMs"
    shown.start(castle)
    now += 20
    assert shown.summary() == "1 of 4 cells done, 1 running; about 2 min 40 s left; $0.00 spent on LLMs"
    now += 100
    shown.end(castle, None)  # after 120 s: the mean is 90 s
    assert shown.summary() == "2 of 4 cells done; about 3 min 00 s left; $0.00 spent on LLMs"
    shown.start(cat)
    shown.end(cat, "no judge")
    assert shown.summary() == "2 of 4 cells done, 1 failed; about 1 min 30 s left; $0.00 spent on LLMs"
    shown.start(van_gogh)
    now += 90
    shown.end(van_gogh, None)
    assert shown.summary() == "3 of 4 cells done, 1 failed; nothing left to do; $0.00 spent on LLMs"


def test_a_cell_that_ends_while_the_live_table_is_drawn_does_not_disturb_it(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, concepts=("church", "castle", "cat", "van-gogh"))
    keep(suite, cell_result(0, 0, 0))
    shown = SuiteView(suite)
    castle, cat, van_gogh = shown.missing
    for _ in shown.seconds.items():
        shown.end(castle, None)
    shown.end(cat, "no judge")
    for _ in shown.failed.items():
        shown.end(van_gogh, "no pair")
    assert shown.failed == {cat: "no judge", van_gogh: "no pair"} and castle in shown.seconds


def screen(suite: Suite, monkeypatch: pytest.MonkeyPatch, width: int, failed: int = 1) -> tuple[SuiteView, list[str]]:
    """A view of ``suite`` in a terminal of 24 lines while a cell runs, after one that is done and others that failed;
    and the lines that are drawn."""
    monkeypatch.setenv("TERM", "xterm-256color")
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, width=width, height=24, highlight=False, soft_wrap=True)
    monkeypatch.setattr(console, "err", terminal)
    shown = SuiteView(suite)
    done, *others = shown.missing
    for cell, failure in ((done, None), *((cell, REASON) for cell in others[:failed])):
        shown.start(cell)
        shown.end(cell, failure)
    shown.start(others[failed])
    shown._live.auto_refresh = False
    with shown:
        shown._live.refresh()
        drawn = file.getvalue()  # before it ends, when the whole view is drawn whatever its height
    return shown, [line.rstrip() for line in re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", drawn).splitlines()]


def row(lines: list[str], concept: str) -> str:
    """The line of the table of ``concept``."""
    [found] = [line for line in lines if line.startswith(f"{concept} ")]
    return found


@pytest.mark.parametrize("width", [80, 100])
def test_all_cells_of_nano_and_what_runs_and_failed_fit_a_terminal_of_24_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    suite = Suite(read_spec(NANO), tmp_path / "store", tmp_path / "results")
    shown, lines = screen(suite, monkeypatch, width)
    assert len(lines) <= 24 and max(map(len, lines)) <= width
    table = next(number for number, line in enumerate(lines) if line.startswith("concept"))
    above = "\n".join(lines[:table])
    assert " ".join(above.split()).startswith(shown.summary())
    running = next(cell for cell, state in shown.states.items() if state == "running")
    assert f"▶ {running.name}, for 0 s" in above
    [failed] = shown.failed
    assert f"✗ {failed.name}: [cuda] out of memory" in above
    for concept in suite.concepts:
        marks = re.findall("[✓▶✗·]+", row(lines, concept))
        counts = [len(suite.cells_of(concept, method)) for method in suite.methods]
        assert [len(each) for each in marks] == [count for count in counts if count]
    assert row(lines, "church").split()[1:4] == ["✓·····", "✗", "▶"]
    names = ["concept", "on-policy", "words", "kl", "kl-tuned", "paper", "oracle"]
    assert [line.split() for line in lines[table - 1 : table + 1]] == [["on-policy-", "windowed-", "windowed-"], names]


def test_ten_concepts_with_two_recipes_fit_too_however_many_cells_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_spec(None, {"concepts": ["imagenette"], "recipes": ["on-policy", "paper"]})
    suite = Suite(spec, tmp_path / "store", tmp_path / "results")
    shown, lines = screen(suite, monkeypatch, 80, failed=8)
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    for concept in suite.concepts:
        assert len(re.findall("[✓▶✗·]", row(lines, concept))) == 4
    reasons = [line for line in lines if line.startswith("✗")]
    assert [line.split(":")[0] for line in reasons] == [f"✗ {cell.name}" for cell in [*shown.failed][-3:]]


def test_more_methods_than_fit_side_by_side_lose_no_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("paper", "per-patch", "esd", "windowed-kl", "windowed-kl-half", "windowed-kl-tuned", "on-policy")
    names += ("on-policy-words", "negative-prompt", "prompt-rewrite")
    spec = read_spec(None, {"concepts": ["church", "english-springer"], "recipes": names})
    suite = Suite(spec, tmp_path / "store", tmp_path / "results")
    shown, lines = screen(suite, monkeypatch, 80)
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    table = next(number for number, line in enumerate(lines) if line.startswith("concept"))
    assert len(re.findall("[✓▶✗·]", "".join(lines[table:]))) == len(shown.states)
