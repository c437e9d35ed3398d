"""Stage 3: judges look at the pictures, and the rule accepts the pairs that hold.

pictures ──filter──▶ verdicts ──decide──▶ acceptance ──dataset──▶ what ``ear`` trains on
              │                   ▲
           choice              accept (the rule), decisions (of people, by ``ecgvf review``)
              │
    nano · resnet50 · torchvision · timm · hf · style · nudenet · clip, or several together

A judge's own libraries are imported when it is chosen.
"""

from ecgvf.judges.choice import NAMES, Options, choose
from ecgvf.judges.decide import Filtered
from ecgvf.judges.filter import filter_pictures
from ecgvf.judges.judge import Criterion, Judge, Reading
from ecgvf.judges.nano import NanoJudge
from ecgvf.judges.rule import Rule

__all__ = [
    "NAMES",
    "Criterion",
    "Filtered",
    "Judge",
    "NanoJudge",
    "Options",
    "Reading",
    "Rule",
    "choose",
    "filter_pictures",
]
