"""A benchmark as a declaration: concepts, recipes and seeds become cells, cells outcomes, outcomes one table.

suite.yaml ──spec──▶ cells ──runner (one process each)──▶ outcomes per cell ──rows──▶ table ──▶ leaderboard
"""

from ear.suite.cells import Cell
from ear.suite.leaderboard import leaderboard
from ear.suite.runner import known_results, run_suite
from ear.suite.spec import SuiteSpec, read_spec
from ear.suite.suite import Measured, Suite
from ear.suite.table import results

__all__ = [
    "Cell",
    "Measured",
    "Suite",
    "SuiteSpec",
    "known_results",
    "leaderboard",
    "read_spec",
    "results",
    "run_suite",
]
