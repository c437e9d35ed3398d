"""Erase a concept from an autoregressive image model (EAR), and measure what else changes.

dataset ──method──▶ adapter ──evaluation──▶ figures before and after, contact sheet

    adapter = ear.train("ecgvf/church")
    print(ear.evaluate("ecgvf/church", adapter))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ear.api import evaluate, load_dataset, train
    from ear.evaluation import Evaluation
    from ear.method.recipe import Recipe
    from ear.method.runs import TrainingRun

__all__ = ["Evaluation", "Recipe", "TrainingRun", "evaluate", "load_dataset", "train"]

_EXPORTS = {
    "Evaluation": "ear.evaluation",
    "Recipe": "ear.method.recipe",
    "TrainingRun": "ear.method.runs",
    "evaluate": "ear.api",
    "load_dataset": "ear.api",
    "train": "ear.api",
}


def __getattr__(name: str) -> Any:
    # Importing PyTorch takes seconds: not before a name is used.
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
