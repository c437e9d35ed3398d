"""``status``: a store, stage by stage."""

import typer

from ecgvf.commands.options import ConceptOption, JsonOption, StoreOption
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
def status(
    concept: ConceptOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show stage by stage how many there are, how many were accepted, why others were not, and the time it took."""
    from ecgvf.core.run import ConceptRun
    from ecgvf.core.store import Store
    from ecgvf.status import ledger_summary, stage_summaries

    console.json_mode(as_json)
    run = ConceptRun.load(Store(store), concept)
    known = run.concept
    entries = stage_summaries(run)
    ledger = ledger_summary(run)
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
        from ecgvf.commands.pairs_output import yields

        yields(current)
    if ledger is not None:
        console.print(
            f"{ledger['answered']} calls to LLMs answered, counted as ${ledger['dollars']}, "
            f"and possibly ${ledger['possibly']}: {console.escape(ledger['file'])}"
        )
