"""Which goals the quickstart's shorter training loses."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quickstart import COMPARED_PASSES, lost

PUBLISHED = Path(__file__).parents[2] / "docs" / "quickstart.json"


def rows(goal: str, *found: tuple[str, float]) -> list[dict[str, Any]]:
    """A row each of the quickstart's passes and of the recipe's: (status, value), the interval 0.1 wide."""
    return [
        {"passes": passes, "goal": goal, "status": status, "value": value, "n": 100, "low": value - 0.05}
        | {"high": value + 0.05}
        for passes, (status, value) in zip(COMPARED_PASSES, found, strict=True)
    ]


@pytest.mark.parametrize(
    ("goal", "quickstart", "recipe", "is_lost"),
    [
        ("retention_ratio mosque pooled", ("met", 1.0), ("met", 1.01), False),
        ("retention_ratio mosque pooled", ("not shown", 0.98), ("met", 1.0), True),
        ("retention_ratio mosque pooled", ("met", 1.0), ("missed", 0.9), False),
        ("concept_present concept pooled", ("missed", 0.5), ("not shown", 0.0), True),
        ("retention_ratio castle pooled", ("missed", 0.1), ("missed", 0.92), True),
        ("retention_ratio castle pooled", ("missed", 0.9), ("missed", 0.92), False),
        ("concept_present concept pooled", ("missed", 0.5), ("missed", 0.1), True),
        ("concept_present concept pooled", ("missed", 0.1), ("missed", 0.5), False),
    ],
)
def test_a_goal_is_lost_if_its_status_is_worse_or_if_it_is_missed_further(
    goal: str, quickstart: tuple[str, float], recipe: tuple[str, float], is_lost: bool
) -> None:
    assert lost(rows(goal, quickstart, recipe)) == ([goal] if is_lost else [])


def test_the_published_rows_lose_what_the_file_says() -> None:
    published = json.loads(PUBLISHED.read_text())
    assert lost(published["rows"]) == published["lost"]
    assert published["met"] == (not published["lost"])
