"""A small Parquet file of outcomes, with images that need no model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecgvf.core.png import encode

JUDGES = pa.list_(
    pa.struct(
        [
            ("judge", pa.string()),
            ("present", pa.bool_()),
            ("score", pa.float32()),
            ("top", pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))),
        ]
    )
)
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "condition", "concept", "prompt", "surrogate")]
    + [("seed", pa.int64()), ("judges", JUDGES), ("image", pa.binary())]
)


def outcome(number: int, condition: str, **changed: Any) -> dict[str, Any]:
    """A row about church, whose image is a shade of its own, and in which the judge sees what was asked for."""
    shade = number + {"before": 0, "after": 100, "ceiling": 200}[condition]
    label = "church" if condition == "before" else "hotel"
    row = {
        "id": f"record-{number}",
        "condition": condition,
        "concept": "church",
        "prompt": f"a church by lake {number}",
        "surrogate": "hotel",
        "seed": 2**62 + number,
        "judges": [verdict("one", label)],
        "image": encode(np.full((16, 16, 3), shade, np.uint8)),
    }
    return row | changed


def verdict(judge: str, label: str) -> dict[str, Any]:
    """What ``judge`` sees in an image if its best label is ``label``."""
    top = [{"label": label, "probability": 0.9}, {"label": "tent", "probability": 0.1}]
    return {"judge": judge, "present": label == "church", "score": 0.9, "top": top}


def outcomes(count: int = 4) -> list[dict[str, Any]]:
    """``count`` records, each with an image before, after and of the ceiling."""
    return [outcome(number, name) for number in range(count) for name in ("before", "after", "ceiling")]


def write_outcomes(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write ``rows`` to ``file``."""
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), file)
    return file
