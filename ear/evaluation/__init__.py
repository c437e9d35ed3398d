"""What erasing changed: outcomes per image, figures computed from them, tables and contact sheets.

prompts ──images──▶ images ──measure (judges, teacher_forcing)──▶ outcomes ──figures (statistics)──▶ evaluation
                                                                     └──table, contact_sheets──▶ for people
training pairs ──attacks, robustness──▶ outcomes under attack ──attack_figures──▶ attack_table
"""

from ear.evaluation.evaluation import check_settings, compare, evaluate
from ear.evaluation.result import Evaluation
from ear.evaluation.settings import EvaluationSettings

__all__ = ["Evaluation", "EvaluationSettings", "check_settings", "compare", "evaluate"]
