"""How often the test splits of a suite were opened: what its cells, and the store that measured them, know."""

from collections import Counter
from collections.abc import Iterator

import pyarrow.parquet as pq

from ear.evaluation.outcomes import read_facts
from ear.suite.suite import Suite
from ecgvf.core import openings
from ecgvf.core.files import JSON


def count_openings(suite: Suite) -> JSON:
    """Concept → ``{"count", "at_least"}``; null if nothing is known of it.

    Every cell in the folder counts, also if the suite has changed since. ``at_least``: some cells are, or replaced,
    those of an earlier version, which do not list the openings; each that is there counts as at least one.
    """
    cells = list(_cells(suite))
    return {
        concept: _count(suite, concept, [cell for cell in cells if cell[0] == concept]) for concept in suite.concepts
    }


def _count(suite: Suite, concept: str, cells: list[tuple[str, str, JSON]]) -> JSON | None:
    lines = suite.known_openings(concept)
    for _, _, facts in cells:
        lines = openings.merge(lines, openings.from_json(facts.get("openings", ())))
    if not lines and not cells:
        return None
    counts, at_least = Counter(line.adapter for line in lines), False
    if suite.spec.split == "test":
        # The store may list some of the openings of silent cells, by the adapter.
        counts |= Counter(adapter for _, adapter, facts in cells if "openings" not in facts)
        at_least = any(not facts.get("all_openings", "openings" in facts) for _, _, facts in cells)
    return {"count": counts.total(), "at_least": at_least}


def _cells(suite: Suite) -> Iterator[tuple[str, str, JSON]]:
    """Concept, hash of the adapter, and facts of each cell in the folder.

    The first outcome of a cell is one of the erased concept, after erasing.
    """
    for file in sorted(suite.results.glob("*.parquet")):
        facts = read_facts(file)
        if "original" not in facts:  # outcomes before erasing, or the table
            continue
        first = pq.read_table(file, columns=["concept", "adapter"]).slice(0, 1).to_pylist()[0]
        yield first["concept"], first["adapter"], facts
