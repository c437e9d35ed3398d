"""A suite's results as one HTML file that needs nothing else.

results, outcomes, store ──results, gallery──▶ sections (charts) ──page──▶ report.html
"""

from ear.report.page import write_report

__all__ = ["write_report"]
