"""How often the test splits of a suite were opened: what its cells, and the store that measured them, know."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from ear.evaluation.outcomes import read_facts
from ear.suite.suite import Suite
from ecgvf.core import openings
from ecgvf.core.files import JSON


def count_openings(suite: Suite) -> JSON:
    """Concept → ``{"count", "at_least"}``; null if nothing is known of it.

    ``at_least``: cells of an earlier version do not list the openings. Each of them counts as at least one.
    """
    return {concept: _count(suite, concept) for concept in suite.concepts}


def _count(suite: Suite, concept: str) -> JSON | None:
    cells = [cell for cell in suite.cells if cell.concept == concept]
    lines = suite.known_openings(concept)
    silent = []
    for cell in cells:
        if (file := suite.file(cell.name)).is_file():
            lines = openings.merge(lines, openings.from_json(read_facts(file).get("openings", ())))
        facts = suite.facts(cell)
        if facts is not None and "openings" not in facts:
            silent.append(cell)
    if not lines and not any(suite.facts(cell) for cell in cells):
        return None
    counts = Counter(line.adapter for line in lines)
    if suite.spec.split == "test":  # the store may list some of these openings, by the adapter
        counts |= Counter(_adapter(suite.file(cell.name)) for cell in silent)
    return {"count": counts.total(), "at_least": bool(silent)}


def _adapter(file: Path) -> str:
    """The hash of what a cell measured; a cell has outcomes after erasing first."""
    return str(pq.read_table(file, columns=["adapter"])["adapter"][0].as_py())
