"""Stage 3: judges look at the pictures, and the rule accepts the pairs that hold.

pictures ──filter──▶ verdicts ──decide──▶ acceptance ──dataset──▶ what ``ear`` trains on
              │                   ▲
           choice              accept (the rule), decisions (of people, by ``ecgvf review``)
              │
    nano · resnet50 · torchvision · timm · hf · style · nudenet · clip, or several together

A judge's own libraries are imported when it is chosen.
"""

from ecgvf.judges.factory import NAMES, JudgeOptions, create_judge
from ecgvf.judges.judge import Criterion, Judge, Prediction
from ecgvf.judges.nano import NanoJudge

__all__ = [
    "NAMES",
    "Criterion",
    "Judge",
    "JudgeOptions",
    "NanoJudge",
    "Prediction",
    "create_judge",
]
