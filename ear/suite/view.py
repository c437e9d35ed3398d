"""The progress of a suite: cells done, running and failed, time left, dollars spent."""

import time
from collections.abc import Sequence
from decimal import Decimal
from textwrap import wrap
from typing import Literal, Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ear.suite.cells import Cell
from ear.suite.suite import Suite
from ecgvf.core import console

State = Literal["missing", "running", "done", "failed"]

_MARKS: dict[State, str] = {
    "missing": "[dim]·[/dim]",
    "running": "[yellow]▶[/yellow]",
    "done": "[green]✓[/green]",
    "failed": "[red]✗[/red]",
}

_FAILED_LINES = 3
"""The last of the failed cells have a line with the reason; the table marks all."""

_METHOD_WIDTH = 10
"""A longer name of a method is broken, at its hyphens."""


class SuiteView:
    """Shows the states of a suite's cells: as a live table in a terminal, else as a line when a cell starts or ends."""

    def __init__(self, suite: Suite, cells: Sequence[Cell] | None = None) -> None:
        """``cells`` None: all of the suite."""
        self.suite = suite
        known = {cell: suite.facts(cell) for cell in (suite.cells if cells is None else cells)}
        self.states: dict[Cell, State] = {cell: "done" if facts else "missing" for cell, facts in known.items()}
        self.seconds = {cell: float(facts["seconds"]) for cell, facts in known.items() if facts}
        self.failed: dict[Cell, str] = {}
        self._started = time.monotonic()
        self._dollars = self._spent()
        self._live = Live(get_renderable=self._page, console=console.err, refresh_per_second=1, transient=False)

    @property
    def missing(self) -> list[Cell]:
        """The cells to measure, in order."""
        return [cell for cell, state in self.states.items() if state == "missing"]

    def __enter__(self) -> Self:
        if console.err.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if console.err.is_terminal:
            self._live.stop()

    def start(self, cell: Cell) -> None:
        """Mark ``cell`` as running."""
        self.states[cell], self._started = "running", time.monotonic()
        if not console.err.is_terminal:
            console.note(f"{cell.name}: started; {self.summary()}")

    def end(self, cell: Cell, failure: str | None) -> None:
        """Mark ``cell`` as done, or as failed for the reason ``failure``."""
        seconds = time.monotonic() - self._started
        # New dictionaries, as the thread of the live table may be going over the present ones.
        if failure is None:
            self.states[cell], self.seconds = "done", {**self.seconds, cell: seconds}
        else:
            self.states[cell], self.failed = "failed", {**self.failed, cell: failure}
        self._dollars = self._spent()
        if not console.err.is_terminal:
            how = f"done in {clock(seconds)}" if failure is None else f"failed: {failure}"
            console.note(f"{cell.name}: {how}; {self.summary()}")

    def summary(self) -> str:
        """Counts, time left and dollars, in one line."""
        counts = {state: list(self.states.values()).count(state) for state in ("done", "running", "failed", "missing")}
        running = f", {counts['running']} running" if counts["running"] else ""
        failed = f", {counts['failed']} failed" if counts["failed"] else ""
        return (
            f"{counts['done']} of {len(self.states)} cells done{running}{failed}; {self._time_left()}; "
            f"${self._dollars:.2f} spent on LLMs"
        )

    def _time_left(self) -> str:
        """Estimated time left, by the mean of the finished cells with the same figures."""
        left = [cell for cell, state in self.states.items() if state in ("missing", "running")]
        if not left:
            return "nothing left to do"
        total = 0.0
        for cell in left:
            known = [seconds for each, seconds in self.seconds.items() if each.figures == cell.figures]
            known = known or [*self.seconds.values()]
            if not known:
                return "time left unknown until a cell is done"
            total += sum(known) / len(known)
        if "running" in self.states.values():
            total -= min(total, time.monotonic() - self._started)
        return f"about {clock(total)} left"

    def _spent(self) -> Decimal:
        from ecgvf.status import ledger_summary

        runs = [self.suite.run(concept, seed) for concept in self.suite.concepts for seed in self.suite.spec.run_seeds]
        ledgers = [ledger_summary(run) for run in runs if run.concept.name in run.store.concepts()]
        return sum((Decimal(ledger["dollars"]) for ledger in ledgers if ledger is not None), Decimal(0))

    def _page(self) -> Group:
        """The summary, running and failed cells; below, as a terminal may be too low for all, the table."""
        running = [
            f"▶ {cell.name}, for {clock(time.monotonic() - self._started)}"
            for cell, state in self.states.items()
            if state == "running"
        ]
        failed = [f"✗ {cell.name}: {reason}" for cell, reason in [*self.failed.items()][-_FAILED_LINES:]]
        lines = Table.grid()
        lines.add_column(no_wrap=True, overflow="ellipsis")
        for line in (*running, *failed):
            lines.add_row(console.escape(line))
        return Group(Text(self.summary(), no_wrap=False, overflow="fold"), lines, self._table())

    def _table(self) -> Table:
        """A row per concept and a column per method, with a mark per cell."""
        marks: dict[str, dict[str, str]] = {}
        for cell, state in self.states.items():
            of_concept = marks.setdefault(cell.concept, {})
            of_concept[cell.recipe] = of_concept.get(cell.recipe, "") + _MARKS[state]
        table = Table(box=None, pad_edge=False)
        table.add_column("concept", no_wrap=True)
        methods = list(dict.fromkeys(cell.recipe for cell in self.states))
        for method in methods:
            table.add_column(console.escape("\n".join(wrap(method, _METHOD_WIDTH))), overflow="fold")
        for concept, of_concept in marks.items():
            table.add_row(console.escape(concept), *(of_concept.get(method, "") for method in methods))
        return table


def clock(seconds: float) -> str:
    """A duration for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
