"""Results as one HTML file that needs nothing else.

a suite's folder, or an evaluation ──results, gallery──▶ sections (charts) ──page──▶ report.html
"""

from pathlib import Path

from ear.report.evaluated import EvaluationResults
from ear.report.page import write_report
from ear.report.results import Results, SuiteResults

__all__ = ["open_results", "write_report"]


def open_results(path: Path, store: Path | None = None) -> Results:
    """The results in a suite's folder, or in a file of `ear eval`.

    ``store`` has the images; None: the suite's, or the default store. Raises ``DatasetError`` for anything else.
    """
    return EvaluationResults.open(path, store) if path.is_file() else SuiteResults.open(path, store)
