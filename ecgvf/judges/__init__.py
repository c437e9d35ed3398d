"""Judges classify images: does one show the concept?

factory.py creates a judge by name, custom.py makes one of a function; classifier.py is the base of those that rank
labels; ensemble.py combines several; files.py judges image files. Every other module is one judge, and its libraries
are imported when it is created.
"""

from ecgvf.judges.factory import JudgeOptions, create_judge
from ecgvf.judges.judge import Criterion, Judge, Prediction

__all__ = ["Criterion", "Judge", "JudgeOptions", "Prediction", "create_judge"]
