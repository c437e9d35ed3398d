"""Judges classify images: does an image show the concept?

judge.py is the interface, classifier.py the base class of judges that rank labels. factory.py creates a judge by name,
custom.py makes one from a function, ensemble.py combines several. files.py judges image files. Every other judge is a
module of its own, whose libraries are imported when it is created.
"""

from ecgvf.judges.factory import JudgeOptions, create_judge
from ecgvf.judges.judge import Criterion, Judge, Prediction

__all__ = ["Criterion", "Judge", "JudgeOptions", "Prediction", "create_judge"]
