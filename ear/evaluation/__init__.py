"""What erasing did: figures before and after, and a sheet to look at.

cases ──pictures──▶ before, after ──looking──▶ seen or not ──accuracy──▶ figures
                          └────────sheet──────▶ one PNG
"""

from ear.evaluation.accuracy import Figure
from ear.evaluation.evaluation import Evaluation, evaluate, write_contact_sheet

__all__ = ["Evaluation", "Figure", "evaluate", "write_contact_sheet"]
