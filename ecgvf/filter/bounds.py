"""Optional bounds on a pair, beyond the accept rule. All are off by default.

- several seeds: the pair is also rendered from the seeds that follow its own, and must pass in a share of them all;
- a CLIP floor: the CLIP score of each image with its own prompt must reach it;
- a limit on change: outside the concept, the pair's two images must not differ by more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgvf.core.errors import SettingsError
from ecgvf.core.records import Box

CELLS = 8
"""Rows and columns of the grid on which change is measured if no judge locates the concept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The optional bounds. Raises ``SettingsError`` for values out of range."""

    seeds: int = 1
    """Number of seeds to render each prompt from: the run's own and the following ones, or for a record that states a
    seed that one and others derived from it."""
    share: float = 1.0
    """Minimum share of the seeds, in (0, 1], with which the pair passes the accept rule."""
    clip_floor: float | None = None
    """Minimum cosine similarity, in [-1, 1], of an image and its own prompt."""
    clip: str | None = None
    """Hub id or folder of the CLIP model that measures it; None: the model of the judge ``clip``."""
    most_change: float | None = None
    """Maximum mean difference of the two images outside the concept, in [0, 1]."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise SettingsError(f"--seeds {self.seeds}: it must be at least 1")
        if self.seeds == 1 and self.share != 1:
            raise SettingsError(f"--share {self.share} needs several seeds: set --seeds")
        if self.clip is not None and self.clip_floor is None:
            raise SettingsError("--clip names the model of --clip-floor: set both")
        if not 0 < self.share <= 1:
            raise SettingsError(f"--share {self.share}: it must be greater than 0 and at most 1")
        if self.clip_floor is not None and not -1 <= self.clip_floor <= 1:
            raise SettingsError(f"--clip-floor {self.clip_floor}: it must be between -1 and 1")
        if self.most_change is not None and not 0 <= self.most_change <= 1:
            raise SettingsError(f"--most-change {self.most_change}: it must be between 0 and 1")


def change(target: NDArray[np.uint8], surrogate: NDArray[np.uint8], boxes: Sequence[Box] = ()) -> float:
    """Mean absolute difference of two images, RGB uint8 [H, W, 3], outside the concept, in [0, 1].

    ``boxes`` are the places where a detector found the concept. Without any, the concept is assumed to be in the half
    of the grid's cells that changed most, and the other half is measured.
    """
    difference = np.abs(target.astype(np.float64) - surrogate).mean(axis=2) / 255
    if boxes:
        outside = np.ones(difference.shape, dtype=bool)
        for box in boxes:
            outside[box.top : box.top + box.height, box.left : box.left + box.width] = False
        return float(difference[outside].mean()) if outside.any() else 0.0
    rows = np.array_split(difference, CELLS, axis=0)
    cells = [float(cell.mean()) for row in rows for cell in np.array_split(row, CELLS, axis=1) if cell.size]
    return float(np.mean(sorted(cells)[: max(1, len(cells) // 2)]))
