"""Run the missing cells of a suite, each in its own process: a cell that fails, hangs or is killed stops no other."""

import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path

from ear.suite.cells import Cell
from ear.suite.suite import Suite
from ear.suite.table import KnownRows, results, write_results
from ear.suite.view import SuiteView
from ecgvf.core import console
from ecgvf.core.errors import EcgvfError
from ecgvf.core.files import JSON

MeasureCell = Callable[[Suite, Cell], str | None]
"""Measures a cell and writes its outcomes; returns the reason if it failed, else None."""

_COMPUTING = "computing the table of the finished cells"


def run_suite(
    suite: Suite, command: str, cells: Sequence[Cell] | None = None, measure_cell: MeasureCell | None = None
) -> tuple[JSON, dict[Cell, str]]:
    """Measure the unfinished among ``cells`` (None: all), in turn, and write the table of the whole suite after each.

    ``measure_cell`` None: ``measure_in_process``. Returns the results (``table.results``), and the reason of each cell
    that failed. ``Suite.check`` tells before whether the cells can be measured.
    """
    measure_cell = measure_in_process if measure_cell is None else measure_cell
    view, known = SuiteView(suite, cells), KnownRows()
    with console.status(_COMPUTING):
        content = results(suite, command, known)
    write_results(suite, content)
    with view:
        for cell in view.missing:
            view.start(cell)
            view.end(cell, measure_cell(suite, cell))
            content = results(suite, command, known)
            write_results(suite, content)
    return content, view.failed


def write_known_results(suite: Suite, command: str) -> JSON:
    """Return the results of the cells that are finished, and write them if the suite has a folder of results; no cell
    is measured."""
    with console.status(_COMPUTING):
        content = results(suite, command)
    if suite.results.is_dir():  # else none is finished: perhaps the working directory is another
        write_results(suite, content)
    return content


def measure_in_process(suite: Suite, cell: Cell) -> str | None:
    """A ``MeasureCell``: a new process on this machine, which is killed after the suite's ``timeout_minutes``."""
    log = log_file(suite, cell)
    log.parent.mkdir(parents=True, exist_ok=True)
    # A forked process would inherit the locks of PyTorch's threads.
    context = get_context("spawn")
    reasons, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(suite, cell, log, sender), daemon=True)
    process.start()
    sender.close()
    try:
        minutes = suite.spec.timeout_minutes
        process.join(None if minutes is None else 60 * minutes)
        if process.is_alive():
            return f"timed out after {minutes:g} minutes"
        if process.exitcode == 0:
            return None
        try:
            return str(reasons.recv())
        except EOFError:
            return f"its process ended with exit code {process.exitcode}, see {log}"
    finally:
        process.kill()
        process.join()


def log_file(suite: Suite, cell: Cell) -> Path:
    """The file of what the process of a cell prints."""
    return suite.store / "logs" / f"{cell.name}.log"


def _measure(suite: Suite, cell: Cell, log: Path, reasons: Connection) -> None:
    """The process of a cell."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with log.open("w", buffering=1, encoding="utf-8") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        try:
            suite.measure(cell)
        except EcgvfError as error:
            reasons.send(" ".join(str(error).split()))
            sys.exit(1)
        except Exception as error:
            traceback.print_exc()
            reasons.send(f"{type(error).__name__}, see {log}")
            sys.exit(1)


def _end_with_parent() -> None:
    """End this process when its parent ends, so that a killed suite leaves none behind."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
