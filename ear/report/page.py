"""Write the page: an HTML file with its styles, scripts, charts and images inside. Every text is escaped."""

import base64
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import jinja2

from ear.report.charts import Chart
from ear.report.gallery import MEANINGS, gallery
from ear.report.results import Results
from ear.report.section import Table
from ear.report.sections import headline, sections
from ear.suite.leaderboard import missing_cells
from ear.suite.table import csv_text
from ear.tables import rows_as_csv
from ecgvf.core.files import write_atomic

HERE = Path(__file__).parent


def write_report(results: Results, file: Path, *, images: int = 1000) -> Path:
    """Write the report with at most ``images`` images. Returns ``file``."""
    shown = gallery(results, images)
    filters = {
        "concept": sorted({card.concept for card in shown.cards}),
        "method": [name for name in results.series if any(card.method == name for card in shown.cards)],
        "class": sorted({card.wording for card in shown.cards}),
        "outcome": [name for name in MEANINGS if any(card.result == name for card in shown.cards)],
    }
    html = _template().render(
        results=results,
        headline=headline(results),
        unfinished=_unfinished(results),
        sections=sections(results),
        attached=results.attached_commands(),
        gallery=shown,
        meanings=MEANINGS,
        filters=filters,
        files=[
            ("all figures", "results.csv", _data(csv_text(results.rows))),
            ("gallery, without images", "gallery.csv", _data(_gallery_csv(shown.cards))),
        ],
        css=(HERE / "report.css").read_text(encoding="utf-8"),
        script=(HERE / "report.js").read_text(encoding="utf-8"),
    )
    write_atomic(file, html.encode())
    return file


def _unfinished(results: Results) -> list[str]:
    """Each concept with the methods of which cells are missing, and how many."""
    found: dict[str, list[str]] = {}
    for concept, method, count in missing_cells(results.rows):
        found.setdefault(concept, []).append(f"{method} {count}")
    return [f"{concept}: {', '.join(counts)}" for concept, counts in found.items()]


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"csv": _table_csv, "filename": _file_names()}
    return environment.get_template("report.html.j2")


def _table_csv(table: Chart | Table) -> str:
    """A data URI of a table, or of a chart's numbers."""
    return _data(rows_as_csv([table.columns, *table.rows]).encode())


def _file_names() -> Callable[[str], str]:
    """A function from a table's title to its file's name: letters of any script and digits, in lower case, and dashes.

    Each call gives another name: an equal or long title may get a number.
    """
    used: set[str] = set()

    def file_name(title: str) -> str:
        name = re.sub(r"[\W_]+", "-", title.casefold()).strip("-")[:80]
        numbered = (f"{name}-{number}.csv" for number in itertools.count(2))
        file = next(each for each in itertools.chain([f"{name}.csv"], numbered) if each not in used)
        used.add(file)
        return file

    return file_name


def _gallery_csv(cards: Sequence[object]) -> bytes:
    names = ("concept", "method", "measured", "wording", "prompt", "result", "reading")
    return rows_as_csv([names, *([getattr(card, name) for name in names] for card in cards)]).encode()


def _data(content: bytes) -> str:
    return f"data:text/csv;base64,{base64.b64encode(content).decode()}"
