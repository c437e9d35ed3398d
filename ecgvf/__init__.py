"""ECGVF: build a benchmark for concept erasure. Data goes one way:

concept → pairs → pictures → verdicts → dataset

``ear`` takes it from there. A stage never imports a later stage, and nothing here imports ``ear``.
"""

__version__ = "0.1.0"
