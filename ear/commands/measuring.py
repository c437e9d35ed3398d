"""What the commands that measure share: how much, and the table of what came of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ecgvf.core import console

if TYPE_CHECKING:
    from ear.evaluation.evaluation import Change, Evaluation
    from ear.retained_concepts import Topic


def counts(per_concept: int | None, per_other: int | None) -> tuple[int, int]:
    """How many prompts of the concept and of each other are measured; sized for minutes where nothing is asked."""
    concept_count, other_count = (64, 8) if per_concept is None else (per_concept, per_concept)
    return concept_count, other_count if per_other is None else per_other


def print_table(results: "Sequence[Evaluation]", names: Sequence[str]) -> None:
    """One column per result beside what was there before, which is the same for all."""

    first = results[0]
    title = console.escape(f"{first.concept} erased from {first.model}")
    table = console.table("", "before", *map(console.escape, names), title=title)

    def add(name: str, changes: "Sequence[Change]") -> None:
        table.add_row(name, str(changes[0].before), *(str(change.after) for change in changes))

    add(f"[bold]{console.escape(first.concept)}[/bold]", [result.erasure for result in results])
    add("[bold]neighbours[/bold]", [result.neighbours for result in results])
    add("[bold]unrelated[/bold]", [result.unrelated for result in results])
    rates = [result.erasure_rate for result in results]
    table.add_row("erasure rate", "", *("" if rate is None else f"{rate:.3f}" for rate in rates))
    table.add_section()
    order = sorted(range(len(first.retention)), key=lambda row: _rank(first.retention[row][0]))
    for row in order:
        topic = first.retention[row][0]
        name = f"{topic.name} (neighbour)" if topic.neighbour else topic.name
        add(console.escape(name), [result.retention[row][1] for result in results])
    console.print(table)
    console.print(f"Accuracy by judge {first.judge}, with 95% Wilson intervals.")


def _rank(topic: "Topic") -> tuple[bool, str]:
    """Neighbours first, then family by family."""
    return not topic.neighbour, topic.family
