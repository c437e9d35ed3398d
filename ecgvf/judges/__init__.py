"""Stage 3: judges look at the pictures, and the rule accepts the pairs that hold.

pictures ──filter──▶ verdicts ──accept──▶ acceptance ──dataset──▶ what ``ear`` trains on
              │
    choice: nano | resnet50
"""

from ecgvf.judges.choice import NAMES, choose
from ecgvf.judges.filter import Filtered, filter_pictures
from ecgvf.judges.judge import Judge, Reading
from ecgvf.judges.nano import NanoJudge

__all__ = ["NAMES", "Filtered", "Judge", "NanoJudge", "Reading", "choose", "filter_pictures"]
