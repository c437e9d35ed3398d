"""``status``: the sets of a concept stage by stage, and the statistics of each writer."""

from decimal import Decimal
from typing import Any

import typer

from ecgvf.commands.options import ConceptOption, JsonOption, StoreOption
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)

WIDE = 140
"""Columns of a terminal that fit all figures of a writer."""


@app.command()
def status(concept: ConceptOption = None, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Show every set, stage by stage: counts, reasons of rejection, and seconds."""
    from ecgvf import Run
    from ecgvf.status import ledger_summary

    console.json_mode(as_json)
    run = Run.load(store, concept)
    sets, ledger = run.status(), ledger_summary(run)
    if as_json:
        facts = {"concept": run.concept.name, "store": str(run.store.root)}
        console.print_json({**facts, "sets": sets, "ledger": ledger})
        return
    _print_sets(sets, title=f"{run.concept.name} in {console.escape(str(run.store.root))}")
    current = next((entry for entry in sets if entry["stage"] == "pairs" and entry["current"]), None)
    if current is not None and current.get("writers"):
        _print_writers(current)
    if ledger is not None:
        console.print(
            f"{ledger['answered']} answered calls to LLMs, counted as ${ledger['dollars']}, "
            f"and possibly ${ledger['possibly']}: {console.escape(ledger['file'])}"
        )


def _print_sets(sets: list[dict[str, Any]], title: str) -> None:
    table = console.table("stage", "set", "counts", "rejected", "seconds", title=title)
    for entry in sets:
        unfinished = "" if entry["finished"] else "[yellow]unfinished[/yellow]"
        table.add_row(
            entry["stage"],
            f"{entry['set']} {'[green]current[/green]' if entry['current'] else unfinished}",
            ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in entry["counts"].items()),
            ", ".join(f"{count} {reason}" for reason, count in entry["reasons"].items()),
            f"{entry['seconds']:.1f}",
        )
    console.print(table)


def _print_writers(entry: dict[str, Any]) -> None:
    """Print the statistics of each writer of a pairs set, fewer on a narrow terminal."""
    wide = console.width() >= WIDE
    more = ("tokens\nin", "tokens\nout", "distinct\n-1", "distinct\n-2", "self-\nsimilarity") if wide else ()
    table = console.table(
        "writer", "asked", "parsed", "kept", "$", *more, "rejected", title=f"writers of {entry['set']}"
    )
    for column in table.columns[1:-1]:
        column.justify = "right"
    for name, stats in entry["writers"].items():
        tokens = stats.get("tokens", {"input": "", "output": ""})
        diversity = (_format(stats[key]) for key in ("distinct_1", "distinct_2", "self_similarity"))
        table.add_row(
            console.escape(name),
            str(stats.get("asked", "")),
            str(stats.get("written", stats["parsed"])),
            str(stats["kept"]),
            _cost(stats),
            *((str(tokens["input"]), str(tokens["output"]), *diversity) if wide else ()),
            console.escape("\n".join(_reasons(stats))),
        )
    console.print(table)
    if not wide:
        console.note(f"Tokens and diversity need {WIDE} columns, or --json.")


def _cost(stats: dict[str, Any]) -> str:
    from ecgvf.llm.budget import dollars

    possibly = Decimal(stats.get("possibly", "0"))
    return (
        dollars(Decimal(stats.get("dollars", "0")))
        + (f"\n+{dollars(possibly)} possibly" if possibly else "")
        + ("" if stats.get("priced", True) else "\n(worst case)")
    )


def _reasons(stats: dict[str, Any]) -> list[str]:
    """Reasons of rejection with their counts, the most frequent first; then incomplete answers and set-asides."""
    surplus = stats.get("written", stats["parsed"]) - stats["parsed"]
    outcomes = stats.get("outcomes", {}).items()
    return [
        *(f"{count} {reason}" for reason, count in stats["why_not"].items()),
        *(f"{count} answers: {outcome}" for outcome, count in outcomes if outcome != "complete"),
        *([f"{surplus} more than requested"] if surplus > 0 else []),
        *([f"set aside: {stats['set_aside']}"] if "set_aside" in stats else []),
    ]


def _format(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
