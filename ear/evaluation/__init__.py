"""What erasing changed: outcomes per image, figures computed from them, and a contact sheet.

prompts ──images──▶ images ──measure (judges, teacher_forcing)──▶ outcomes ──figures (statistics)──▶ evaluation
                                                                     └──────────report──────────▶ table, contact sheet
training pairs ──attacks, robustness──▶ outcomes under attack ──attack_figures──▶ attack_report
"""

from ear.evaluation.evaluation import compare, evaluate
from ear.evaluation.outcomes import Outcome, read_outcomes, write_outcomes
from ear.evaluation.report import write_contact_sheet
from ear.evaluation.result import Evaluation
from ear.evaluation.settings import EvaluationSettings

__all__ = [
    "Evaluation",
    "EvaluationSettings",
    "Outcome",
    "compare",
    "evaluate",
    "read_outcomes",
    "write_contact_sheet",
    "write_outcomes",
]
