"""Plots as SVG files."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def svg(plot: "Figure") -> bytes:
    """The plot as SVG; equal plots give equal bytes."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "ear"}):
        plot.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
