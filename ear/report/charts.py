"""Charts as SVG: drawn by matplotlib, in the page's own colours and fonts, so that they follow light and dark.

A chart is 360 px wide, which a phone shows at full size; wider screens set several side by side.
"""

import io
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ear.suite.leaderboard import text
from ear.svg import error_bars
from ecgvf.core.files import JSON

SHARE = "share of images"
WIDTH = 5.0
"""Inches of a chart; matplotlib's SVG has 72 points to the inch."""

_COLOURS = tuple(f"#0001{number:02}" for number in range(1, 11))
"""Placeholders for the page's colours of series, which ``_svg`` replaces; the next two are for text and lines."""
_INK, _LINE = "#000200", "#000300"
_MARKERS = ("o", "D", "X", "s", "^", "v", "P", "*", "<", ">", "d")
"""One more than there are colours, so that no two of 110 series have both in common."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ear",  # equal results make equal files
    "font.size": 11,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _LINE,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _LINE,
    "legend.frameon": False,
    "text.parse_math": False,  # names may contain dollars
}

Point = tuple[str, JSON]
"""A series and its figure: value, low, high."""


Bar = tuple[str, JSON, JSON]
"""A name, and its figure before and after."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart, and its numbers as rows of a table."""

    title: str
    svg: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    headers: int = 2
    """How many cells, from the first, are a row's header."""


def dots(
    title: str,
    lines: Sequence[tuple[str, Sequence[Point]]],
    *,
    series: Sequence[str],
    label: str = SHARE,
    what: str = "figure",
) -> Chart:
    """A line per name, with a dot and its interval per series. ``what``: what the names are, for the table.

    ``series``, here and below: all names of the report, so that each has the same colour and marker in every chart, as
    far as these suffice.
    """
    kinds = _kinds(series, [name for _, points in lines for name, _ in points])
    height = 0.9 + 0.3 * (1 + len(kinds) // 3) + 0.16 * sum(max(2, len(points)) for _, points in lines)
    with _style():
        plot, axes = _axes(height)
        for index, (_, points) in enumerate(lines):
            for number, (name, figure) in enumerate(points):
                place = index + 0.7 * ((number + 0.5) / len(points) - 0.5)
                _dot(axes, figure, place, kinds[name])
        axes.set_yticks(range(len(lines)), [name for name, _ in lines])
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.set_xlim(-0.03, 1.03)
        axes.grid(axis="x", alpha=0.6, linewidth=0.6)
        _legend(plot, axes, kinds)
        svg = _svg(plot)
    rows = [[" ".join(name.split()), each, *_numbers(figure)] for name, points in lines for each, figure in points]
    return Chart(title, svg, (what, "method", label, "n"), rows)


def bars(
    title: str, groups: Sequence[tuple[str, Sequence[Bar]]], *, method: str, series: Sequence[str], label: str
) -> Chart:
    """Groups of bars: after erasing, by ``method``, with its interval; a tick marks the value before."""
    kinds = _kinds(series, ["original", method])
    before, colour = (_COLOURS[kinds[name] % len(_COLOURS)] for name in ("original", method))
    lines = sum(1 + len(members) for _, members in groups)
    with _style():
        plot, axes = _axes(1.2 + 0.19 * lines)
        names: list[str] = []
        for group, members in groups:
            axes.text(0, len(names), group, va="center", fontweight="bold")
            names.append("")
            for name, first, second in members:
                place = len(names)
                axes.barh(place, second["value"], height=0.55, color=colour, alpha=0.5)
                axes.errorbar(second["value"], place, xerr=error_bars(second), fmt="none", ecolor=_INK, capsize=2)
                axes.plot(first["value"], place, "|", color=before, markersize=11, markeredgewidth=2)
                names.append(name)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(names) - 0.4, -0.7)
        axes.set_xlim(0, 1.03)
        axes.set_xlabel(label)
        axes.grid(axis="x", alpha=0.6, linewidth=0.6)
        axes.set_axisbelow(True)
        tick = axes.plot([], [], "|", color=before, markersize=11, markeredgewidth=2)[0]
        bar = Patch(color=colour, alpha=0.5)
        plot.legend([tick, bar], ["original", method], loc="outside upper left", ncols=2)
        svg = _svg(plot)
    rows = [
        [group, name, text(first, digits=3), *_numbers(second)]
        for group, members in groups
        for name, first, second in members
    ]
    return Chart(title, svg, ("group", "concept", "original", method, "n"), rows)


def frontier(
    title: str,
    points: Sequence[tuple[str, JSON, JSON]],
    *,
    series: Sequence[str],
    across: str,
    up: str,
    settings: Sequence[str] = (),
    beside: Sequence[str] = (),
) -> Chart:
    """A point per (series, figure across, figure up), with both intervals.

    ``settings``: of each point, for the table; empty if a series is a single point. ``beside``: series of the charts
    beside it, whose colours it leaves to them.
    """
    drawn = [name for name, _, _ in points]
    kinds = {name: kind for name, kind in _kinds(series, [*drawn, *beside]).items() if name in drawn}
    with _style():
        plot, axes = _axes(4.2)
        for name, x, y in points:
            kind = kinds[name]
            axes.errorbar(
                x["value"],
                y["value"],
                xerr=error_bars(x),
                yerr=error_bars(y),
                fmt=_MARKERS[kind % len(_MARKERS)],
                color=_COLOURS[kind % len(_COLOURS)],
                capsize=2,
                markersize=7,
                label=name,
            )
        # Above the axes: a point can be anywhere within.
        axes.set_title("better: up and left", loc="left", fontsize=11, fontstyle="italic")
        axes.set_xlim(-0.03, 1.03)
        # Not closer than this: small differences should look small.
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, 0.8), max(high, 1.05))
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(alpha=0.6, linewidth=0.6)
        _legend(plot, axes, kinds)
        svg = _svg(plot)
    columns = ["method", *(["settings"] if settings else []), across, f"n of {across}", up, f"n of {up}"]
    rows = [
        [name, *settings[place : place + 1], *_numbers(x), *_numbers(y)] for place, (name, x, y) in enumerate(points)
    ]
    return Chart(title, svg, columns, rows, headers=1)


def curves(title: str, levels: Sequence[str], lines: Mapping[str, Mapping[str, JSON]]) -> Chart:
    """Points per series over the levels of a factor; a line joins those of numeric levels, which have an order."""
    ordered = all(map(_is_number, levels))
    # None of them is a reference or a method: other colours than those of the references.
    kinds = {name: number for number, name in enumerate(lines, len(_COLOURS) // 2)}
    with _style():
        plot, axes = _axes(3.6)
        for place, (name, figures) in enumerate(lines.items()):
            kind = kinds[name]
            known = [level for level in levels if level in figures]
            axes.errorbar(
                [levels.index(level) + (0 if ordered else 0.07 * (place - (len(lines) - 1) / 2)) for level in known],
                [figures[level]["value"] for level in known],
                yerr=[[error_bars(figures[level])[end][0] for level in known] for end in (0, 1)],
                marker=_MARKERS[kind % len(_MARKERS)],
                linestyle="-" if ordered else "none",
                color=_COLOURS[kind % len(_COLOURS)],
                capsize=2,
            )
        axes.set_xticks(range(len(levels)), levels, rotation=45 if len(levels) > 4 else 0)
        axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel(SHARE)
        axes.grid(axis="y", alpha=0.6, linewidth=0.6)
        _legend(plot, axes, kinds)
        svg = _svg(plot)
    rows = [[name, level, *_numbers(figure)] for name, figures in lines.items() for level, figure in figures.items()]
    return Chart(title, svg, ("figure", "level", SHARE, "n"), rows)


@contextmanager
def _style() -> Iterator[None]:
    """The page's style."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Text stays text, drawn by the reader's fonts: matplotlib's own need not have every character.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _is_number(level: str) -> bool:
    try:
        float(level)
    except ValueError:
        return False
    return True


def _axes(height: float) -> tuple[Figure, Axes]:
    plot = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = plot.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return plot, axes


def _dot(axes: Axes, figure: JSON, place: float, kind: int) -> None:
    axes.errorbar(
        figure["value"],
        place,
        xerr=error_bars(figure),
        fmt=_MARKERS[kind % len(_MARKERS)],
        color=_COLOURS[kind % len(_COLOURS)],
        capsize=2,
        markersize=5,
    )


def _kinds(series: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Drawn name → the number of its colour and marker: its place in ``series``, counted from 0 again after the last
    colour, or the first number that is free if an earlier name of the chart has that."""
    kinds: dict[str, int] = {}
    for place, name in enumerate(series):
        if name in names:
            numbers = (place % len(_COLOURS), *range(len(_COLOURS)))
            kinds[name] = next((number for number in numbers if number not in kinds.values()), place)
    return kinds


def _legend(plot: Figure, axes: Axes, kinds: Mapping[str, int]) -> None:
    """Above the axes, in as many columns as there is room for, at most three."""
    handles = [
        axes.plot([], [], _MARKERS[kind % len(_MARKERS)], color=_COLOURS[kind % len(_COLOURS)])[0]
        for kind in kinds.values()
    ]
    for columns in range(min(3, len(kinds)), 0, -1):
        legend = plot.legend(handles, list(kinds), loc="outside upper left", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= plot.bbox.width:
            break
        legend.remove()


def _svg(plot: Figure) -> str:
    """The figure as an SVG element whose colours and fonts are the page's."""
    buffer = io.StringIO()
    plot.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    for number, colour in enumerate(_COLOURS, 1):
        drawn = drawn.replace(colour, f"var(--series-{number})")
    drawn = drawn.replace(_INK, "var(--ink)").replace(_LINE, "var(--line)")
    drawn = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", drawn)
    # Identifiers are unique within a chart only.
    prefix = f"c{zlib.crc32(drawn.encode()):x}-"
    drawn = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{prefix}", drawn)
    drawn = re.sub(
        r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', drawn
    )
    return drawn.replace('xlink:href="', 'href="')


def _numbers(figure: JSON) -> tuple[str, str]:
    """A figure and its n, the number of prompts; empty for a value by definition, such as 1 of the original."""
    return text(figure, digits=3), str(figure.get("n") or "")
