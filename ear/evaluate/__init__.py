"""What erasing did: figures before and after, and a sheet to look at.

cases ──pictures──▶ before, after ──looking──▶ seen or not ──accuracy──▶ figures
                          └────────sheet──────▶ one PNG
"""

from ear.evaluate.accuracy import Figure
from ear.evaluate.evaluation import Evaluation, contact_sheet, evaluate

__all__ = ["Evaluation", "Figure", "contact_sheet", "evaluate"]
