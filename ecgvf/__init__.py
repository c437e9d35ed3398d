"""ECGVF: build a benchmark for concept erasure. Data flows one way:

concept → pairs → images → verdicts → dataset

``ecgvf.Run`` is the whole job in Python; ``ear`` takes the dataset from there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ecgvf.core.concepts import Concept
    from ecgvf.core.dataset import Dataset
    from ecgvf.core.errors import EcgvfError
    from ecgvf.filter.bounds import Bounds
    from ecgvf.judges.custom import judge
    from ecgvf.judges.factory import JudgeOptions
    from ecgvf.judges.judge import Judge
    from ecgvf.llm.registry import Registry
    from ecgvf.run import Run

__all__ = ["Bounds", "Concept", "Dataset", "EcgvfError", "Judge", "JudgeOptions", "Registry", "Run", "judge"]

# Name → module. Imported on first use, so that `ecgvf --help` answers at once.
_EXPORTS = {
    "Bounds": "ecgvf.filter.bounds",
    "Concept": "ecgvf.core.concepts",
    "Dataset": "ecgvf.core.dataset",
    "EcgvfError": "ecgvf.core.errors",
    "Judge": "ecgvf.judges.judge",
    "JudgeOptions": "ecgvf.judges.factory",
    "Registry": "ecgvf.llm.registry",
    "Run": "ecgvf.run",
    "judge": "ecgvf.judges.custom",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'ecgvf' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
