"""Plots as SVG files."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def error_bars(figure: Mapping[str, Any]) -> list[list[float]]:
    """Distances from ``value`` to ``low`` and to ``high``, [[below], [above]]: 0 without an interval, and if
    rounding puts the value outside it."""
    low, high = (figure["value"] if figure[end] is None else figure[end] for end in ("low", "high"))
    return [[max(0.0, figure["value"] - low)], [max(0.0, high - figure["value"])]]


def svg(plot: "Figure") -> bytes:
    """The plot as SVG; equal plots give equal bytes."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "ear"}):
        plot.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
