"""A benchmark as a declaration: concepts, recipes and seeds become cells, cells outcomes, outcomes one table.

suite.yaml ──spec──▶ cells ──runner (one process each)──▶ outcomes per cell ──rows──▶ table ──▶ leaderboard
"""

from ear.suite.cells import Cell
from ear.suite.leaderboard import leaderboard
from ear.suite.runner import run_suite, write_known_results
from ear.suite.spec import SuiteSpec, read_spec
from ear.suite.suite import CellResult, Suite
from ear.suite.table import copy_finished, results

__all__ = [
    "Cell",
    "CellResult",
    "Suite",
    "SuiteSpec",
    "copy_finished",
    "leaderboard",
    "read_spec",
    "results",
    "run_suite",
    "write_known_results",
]
