"""One plot per factor: erasure, replacement and retention of its levels, with 95% intervals."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from matplotlib.figure import Figure

from ear.ablation.ablation import CAPTIONS
from ear.svg import error_bars, svg
from ecgvf.core.files import write_atomic


def plot_factors(table: pa.Table, folder: Path) -> list[Path]:
    """Write ``<factor>.svg`` for each factor in ``table``; returns their paths."""
    files = []
    for factor in dict.fromkeys(table["factor"].to_pylist()):
        rows = [row for row in table.to_pylist() if row["factor"] == factor]
        file = folder / f"{factor}.svg"
        write_atomic(file, _svg(factor, rows))
        files.append(file)
    return files


def _svg(factor: str, rows: list[dict[str, Any]]) -> bytes:
    plot = Figure(figsize=(3.2 * len(CAPTIONS), 3.4), layout="constrained")
    levels = list(dict.fromkeys(row["level"] for row in rows))
    axes = plot.subplots(1, len(CAPTIONS), sharey=True)
    for axis, (figure, caption) in zip(axes, CAPTIONS.items(), strict=True):
        of_figure = [row for row in rows if row["figure"] == figure]
        seeds: list[tuple[float, float]] = []
        for offset, (equal, marker) in enumerate((("pairs", "o"), ("steps", "s"))):
            points = [row for row in of_figure if row["equal"] == equal and row["value"] is not None]
            if points:
                places = [levels.index(row["level"]) + 0.15 * offset for row in points]
                values = [row["value"] for row in points]
                errors = [[error_bars(row)[end][0] for row in points] for end in (0, 1)]
                axis.errorbar(places, values, errors, fmt=marker, capsize=3, label=f"equal {equal}")
                seeds += [
                    (place + 0.07, value) for place, row in zip(places, points, strict=True) for value in _by_seed(row)
                ]
        if seeds:
            axis.plot(*zip(*seeds, strict=True), "k.", markersize=4, label="each seed")
        if of_figure and of_figure[0]["original"] is not None:
            axis.axhline(of_figure[0]["original"], color="0.6", linestyle=":", label="before erasing")
        if of_figure and of_figure[0]["ceiling"] is not None:
            axis.axhline(of_figure[0]["ceiling"], color="0.6", linestyle="--", label="asked for the surrogate")
        axis.set_title(caption, fontsize=10)
        axis.set_xticks(range(len(levels)), levels, rotation=45, ha="right")
        axis.set_ylim(-0.03, 1.03)
        axis.set_xlabel(factor)
    axes[0].set_ylabel("share of images")
    axes[0].legend(fontsize=7)
    return svg(plot)


def _by_seed(row: dict[str, Any]) -> list[float]:
    """The values of the seeds, if there are several; rows of an earlier version have none."""
    values = row.get("by_seed") or []
    return values if len(values) > 1 else []
