"""``status``: the sets of a concept stage by stage, and the statistics of each writer."""

from decimal import Decimal
from typing import Any

from rich.table import Table

from ecgvf.commands.options import ConceptOption, JsonOption, StoreOption
from ecgvf.core import console

WIDE = 140
"""Columns of a terminal that fit all figures of a writer."""


def status(concept: ConceptOption = None, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Show every set, stage by stage: counts, reasons for rejection, and seconds."""
    from ecgvf import Run
    from ecgvf.status import ledger_summary

    run = Run.load(concept, store)
    sets, ledger = run.status(), ledger_summary(run)
    name, root = run.concept.name, str(run.store.root)
    if as_json:
        console.print_json({"concept": name, "store": root, "sets": sets, "ledger": ledger})
        return
    console.print(_sets_table(sets, title=f"{name} in {console.escape(root)}"))
    pairs = [entry for entry in sets if entry["stage"] == "pairs"]
    # The newest set is not the current one if nothing in it was usable: its reasons are what one looks for.
    shown = [entry for entry in pairs if entry.get("writers") and (entry["current"] or entry is pairs[-1])]
    console.print(*(_writers_table(entry, wide=console.width() >= WIDE) for entry in shown))
    if shown and console.width() < WIDE:
        console.note(f"Tokens and diversity need {WIDE} columns, or --json.")
    if ledger is not None:
        possibly = f", and possibly ${ledger['possibly']}" if Decimal(ledger["possibly"]) else ""
        calls = console.counted(ledger["answered"], "answered call")
        console.print(f"{calls} to LLMs, counted as ${ledger['dollars']}{possibly}: {console.escape(ledger['file'])}")


def _sets_table(sets: list[dict[str, Any]], title: str) -> Table:
    table = console.table("stage", "set", "counts", "rejected", "seconds", title=title)
    for entry in sets:
        unfinished = "" if entry["finished"] else "[yellow]unfinished[/yellow]"
        table.add_row(
            entry["stage"],
            f"{entry['set']} {'[green]current[/green]' if entry['current'] else unfinished}",
            _counts(entry["counts"]),
            "\n".join(f"{count} {reason}" for reason, count in entry["reasons"].items()),
            f"{entry['seconds']:.1f}",
        )
    return table


def _counts(counts: dict[str, int]) -> str:
    """The counts of a set in words; those of splits on a line each."""
    from ecgvf.pairs.splits import COUNT_NAMES, counts_text

    by_split = {split: counts[key] for split, key in COUNT_NAMES.items() if key in counts}
    if by_split:
        accepted = {split: counts[key] for split in by_split if (key := f"accepted_{COUNT_NAMES[split]}") in counts}
        return (counts_text(accepted, by_split) if accepted else counts_text(by_split)).replace(", ", "\n")
    if "pictures" in counts:
        images = console.counted(counts["pictures"], "image")
        return f"concept seen in {counts['present']} of {images}" if "present" in counts else images
    return ", ".join(console.counted(count, name.removesuffix("s")) for name, count in counts.items())


def _writers_table(entry: dict[str, Any], *, wide: bool) -> Table:
    """The statistics of each writer of a pairs set; not all of them unless ``wide``."""
    more = ("tokens\nin", "tokens\nout", "distinct\n-1", "distinct\n-2", "self-\nsimilarity") if wide else ()
    title = f"writers of {entry['set']}"
    table = console.table("writer", "asked", "parsed", "kept", "$", *more, "rejected", title=title)
    for column in table.columns[1:-1]:
        column.justify = "right"
    for name, stats in entry["writers"].items():
        counts: tuple[Any, ...] = (
            stats.get("asked", ""),
            stats.get("written", stats["parsed"]),
            stats["kept"],
            _cost(stats),
        )
        if wide:
            diversity = (stats[key] for key in ("distinct_1", "distinct_2", "self_similarity"))
            counts += tuple(stats.get("tokens", {"input": "", "output": ""}).values())
            counts += tuple("" if value is None else f"{value:.2f}" for value in diversity)
        table.add_row(console.escape(name), *map(str, counts), console.escape("\n".join(_reasons(stats))))
    return table


def _cost(stats: dict[str, Any]) -> str:
    from ecgvf.llm.budget import dollars

    possibly = Decimal(stats.get("possibly", "0"))
    return (
        dollars(Decimal(stats.get("dollars", "0")))
        + (f"\n+{dollars(possibly)} possibly" if possibly else "")
        + ("" if stats.get("priced", True) else "\n(worst case)")
    )


def _reasons(stats: dict[str, Any]) -> list[str]:
    """Reasons of rejection with their counts, the most frequent first; then incomplete answers, and why it stopped."""
    surplus = stats.get("written", stats["parsed"]) - stats["parsed"]
    outcomes = stats.get("outcomes", {}).items()
    return [
        *(f"{count} {reason}" for reason, count in stats["why_not"].items()),
        *(f"{console.counted(count, 'answer')}: {outcome}" for outcome, count in outcomes if outcome != "complete"),
        *([f"{surplus} more than requested"] if surplus > 0 else []),
        *([f"stopped: {stats['set_aside']}"] if "set_aside" in stats else []),
    ]
