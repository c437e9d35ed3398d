"""What erasing changed: figures before and after, and a contact sheet.

prompts ──images──▶ before, after ──judges──▶ present or not ──evaluation──▶ figures
                          └───────────────────report────────────────────▶ table, contact sheet
"""

from ear.evaluation.evaluation import Evaluation, EvaluationSettings, compare, evaluate
from ear.evaluation.report import write_contact_sheet

__all__ = ["Evaluation", "EvaluationSettings", "compare", "evaluate", "write_contact_sheet"]
