"""The parts of a section of a report, and look-ups that several sections need."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ear.report.charts import Chart
from ear.report.results import AttachmentName, Results, select
from ear.suite.leaderboard import main_figures
from ecgvf.core.files import JSON


@dataclass(frozen=True, slots=True)
class Table:
    """A table."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    """What the table cannot say of itself."""
    headers: int = 1
    """How many cells, from the first, are a row's header."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that is not a chart."""

    title: str
    uri: str
    """A data URI."""
    unsafe: bool
    """Whether the page blurs it."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section: text, charts, tables, pictures, and what is missing."""

    id: str
    title: str
    intro: str
    """How to read it, for somebody who knows nothing of this project."""
    charts: Sequence[Chart] = ()
    folded: Sequence[Chart] = ()
    """Charts that are shown on request."""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    missing: Sequence[str] = ()
    """What was not measured."""


def main_rows(results: Results, concept: str, method: str) -> dict[str, JSON]:
    """Column of the leaderboard → the row of a concept and method."""
    return main_figures(select(results.rows, concept=concept, recipe=method, wording="pooled"))


def absent(results: Results, concept: str, measured: Collection[str], *, what: str = "") -> list[str]:
    """What is missing of ``concept``, for people: ``what``, by the methods that are not ``measured``."""
    methods = [method for method in results.methods if method not in measured]
    if len(methods) == len(results.methods):
        return [f"{concept}{what}"]
    return [f"{concept}{what}: {', '.join(methods)}"] if methods else []


def unread(results: Results, name: AttachmentName) -> list[str]:
    """What is missing, for people, because the suite names a file of ``name`` that does not exist."""
    what: dict[AttachmentName, str] = {
        "ablations": "an ablation",
        "trials": "several settings of each recipe",
        "attacks": "other attacks",
        "memorisation": "clusters of nearly equal images",
        "agreement": "agreement of judges with labels",
    }
    return [f"{what[name]} ({file} does not exist)" for file in results.absent(name)]
