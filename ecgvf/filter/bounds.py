"""What may be asked of a pair beyond the rule. All of it is off by default.

- *several seeds*: the pair is drawn again from the run seeds after its own, and must hold in a share of all of them;
- *a CLIP floor*: each picture's cosine with its own prompt must reach it;
- *a limit on change*: outside the concept, the pair's two pictures must not differ by more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgvf.core.errors import SettingsError
from ecgvf.core.records import Box

CELLS = 8
"""The picture is cut into so many rows and columns of cells where no judge says where the concept is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The optional bounds. Raises ``SettingsError`` for values that cannot be."""

    seeds: int = 1
    """Pictures per prompt: the run's own seed and the ones that follow it."""
    share: float = 1.0
    """Of these seeds, the share in which the pair has to hold; its own seed is always one of them."""
    clip_floor: float | None = None
    """Least cosine, in [-1, 1], between a picture and its own prompt."""
    clip: str | None = None
    """The CLIP model that measures it; None: the one of judge ``clip``."""
    most_change: float | None = None
    """Greatest mean difference outside the concept, in [0, 1]."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise SettingsError(f"--seeds {self.seeds}: at least one")
        if self.seeds == 1 and self.share != 1:
            raise SettingsError(f"--share {self.share} is of several seeds: say how many with --seeds")
        if self.clip is not None and self.clip_floor is None:
            raise SettingsError("--clip names the model of --clip-floor: give both")
        if not 0 < self.share <= 1:
            raise SettingsError(f"--share {self.share}: it must be more than 0 and at most 1")
        if self.clip_floor is not None and not -1 <= self.clip_floor <= 1:
            raise SettingsError(f"--clip-floor {self.clip_floor}: a cosine lies between -1 and 1")
        if self.most_change is not None and not 0 <= self.most_change <= 1:
            raise SettingsError(f"--most-change {self.most_change}: it must lie between 0 and 1")


def change(one: NDArray[np.uint8], other: NDArray[np.uint8], boxes: Sequence[Box] = ()) -> float:
    """Mean absolute difference of two pictures, RGB uint8 [H, W, 3], outside the concept, in [0, 1].

    Outside is outside the boxes, where a detector drew some. Otherwise nobody knows where the concept is: then it is
    granted the half of the picture's cells that changed most, and the other half is what counts.
    """
    difference = np.abs(one.astype(np.float64) - other).mean(axis=2) / 255
    if boxes:
        outside = np.ones(difference.shape, dtype=bool)
        for box in boxes:
            outside[box.top : box.top + box.height, box.left : box.left + box.width] = False
        return float(difference[outside].mean()) if outside.any() else 0.0
    rows = np.array_split(difference, CELLS, axis=0)
    cells = [float(cell.mean()) for row in rows for cell in np.array_split(row, CELLS, axis=1) if cell.size]
    return float(np.mean(sorted(cells)[: max(1, len(cells) // 2)]))
