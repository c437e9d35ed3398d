"""``status``: a store, stage by stage, and what each writer of the pairs was worth."""

from decimal import Decimal
from typing import Any

import typer

from ecgvf.commands.options import ConceptOption, JsonOption, StoreOption
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)

WIDE = 140
"""Columns of a terminal from which on all of a writer's figures are shown."""


@app.command()
def status(
    concept: ConceptOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show stage by stage how many there are, how many were accepted, why others were not, and the time it took."""
    from ecgvf.core.run import ConceptRun
    from ecgvf.core.store import Store
    from ecgvf.status import paid
    from ecgvf.status import status as look

    console.json_mode(as_json)
    run = ConceptRun.load(Store(store), concept)
    known = run.concept
    entries = look(run)
    ledger = paid(run)
    if as_json:
        console.print_json({"concept": known.name, "store": str(run.store.root), "sets": entries, "ledger": ledger})
        return
    table = console.table(
        "stage", "set", "how many", "why not", "seconds", title=f"{known.name} in {console.escape(str(run.store.root))}"
    )
    for entry in entries:
        mark = (
            "[green]current[/green]" if entry["current"] else "" if entry["finished"] else "[yellow]unfinished[/yellow]"
        )
        table.add_row(
            entry["stage"],
            f"{entry['set']} {mark}",
            ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in entry["counts"].items()),
            ", ".join(f"{count} {reason}" for reason, count in entry["reasons"].items()),
            f"{entry['seconds']:.1f}",
        )
    console.print(table)
    current = next((entry for entry in entries if entry["stage"] == "pairs" and entry["current"]), None)
    if current is not None and current.get("writers"):
        _writers(current)
    if ledger is not None:
        console.print(
            f"{ledger['answered']} calls to LLMs answered, counted as ${ledger['dollars']}, "
            f"and possibly ${ledger['possibly']}: {console.escape(ledger['file'])}"
        )


def _writers(entry: dict[str, Any]) -> None:
    """Say what each writer of a set was worth; ``entry`` is one of ``status``."""
    wide = console.width() >= WIDE
    more = ("tokens\nin", "tokens\nout", "distinct\n-1", "distinct\n-2", "self-\nsimilarity") if wide else ()
    table = console.table(
        "writer", "asked", "parsed", "kept", "$", *more, "why not", title=f"writers of {entry['set']}"
    )
    for column in table.columns[1:-1]:
        column.justify = "right"
    for name, one in entry["writers"].items():
        tokens = one.get("tokens", {"input": "", "output": ""})
        diversity = (_figure(one[key]) for key in ("distinct_1", "distinct_2", "self_similarity"))
        table.add_row(
            console.escape(name),
            str(one.get("asked", "")),
            str(one.get("written", one["parsed"])),
            str(one["kept"]),
            _cost(one),
            *((str(tokens["input"]), str(tokens["output"]), *diversity) if wide else ()),
            console.escape("\n".join(_why_not(one))),
        )
    console.print(table)
    if not wide:
        console.note(f"Tokens and diversity are shown from {WIDE} columns on, and by --json.")


def _cost(one: dict[str, Any]) -> str:
    from ecgvf.llm.budget import dollars

    possibly = Decimal(one.get("possibly", "0"))
    return (
        dollars(Decimal(one.get("dollars", "0")))
        + (f"\n+{dollars(possibly)} possibly" if possibly else "")
        + ("" if one.get("priced", True) else "\n(worst case)")
    )


def _why_not(one: dict[str, Any]) -> list[str]:
    """Reasons with how often, the most frequent first; then answers that held nothing, and why a writer stopped."""
    surplus = one.get("written", one["parsed"]) - one["parsed"]
    return [
        *(f"{count} {why}" for why, count in one["why_not"].items()),
        *(f"{count} answers: {what}" for what, count in one.get("outcomes", {}).items() if what != "complete"),
        *([f"{surplus} more than asked for"] if surplus > 0 else []),
        *([f"set aside: {one['set_aside']}"] if "set_aside" in one else []),
    ]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
