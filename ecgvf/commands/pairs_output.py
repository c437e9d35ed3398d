"""What ``ecgvf generate`` chooses, asks and says."""

import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ecgvf.core import console
from ecgvf.core.errors import SettingsError, WriterError
from ecgvf.core.stage_set import StageSet
from ecgvf.llm.budget import dollars
from ecgvf.llm.registry import OFFLINE, Named, Registry, keyless, too_simple
from ecgvf.pairs.generate import examples

if TYPE_CHECKING:
    from ecgvf.llm.dispatch import Plan
    from ecgvf.pairs.llm_writers import Foreseen


PRICED_BY_YOU = (
    "put it into a registry of your own (--registry) with its price, 0 for a free server, to count what it costs"
)


def select_writers(
    names: str | None, url: str | None, model: str | None, registry: Path | None, *, keys: bool
) -> tuple[list[Named], bool]:
    """The LLMs to ask, none for the offline writer, and whether it was the user who named them.

    ``keys``: whether each needs its key, because something will be sent. Warns of keys that are not scrubbed. Raises
    ``SettingsError``, ``WriterError``.
    """
    chosen, named = _chosen(names, url, model, registry, keys=keys)
    if keys and (simple := too_simple(chosen)):
        variables = ", ".join(simple)
        console.warn(f"too short or too simple to be a secret, so not scrubbed from what servers send: {variables}")
    return chosen, named


def _chosen(
    names: str | None, url: str | None, model: str | None, registry: Path | None, *, keys: bool
) -> tuple[list[Named], bool]:
    if (url is None) != (model is None):
        raise SettingsError("--writer-url and --writer-model go together: which server, and which of its models")
    if url is not None and model is not None:
        if names is not None:
            raise SettingsError("--writers and --writer-url: name one of them")
        return [Registry(registry).at(url, model)], True
    if names is not None and names.strip() == OFFLINE:
        return [], True
    known = Registry(registry)
    if names is not None:
        if OFFLINE in [part.strip() for part in names.split(",")]:
            raise SettingsError("the offline writer writes alone: --writers offline, or the names of LLMs")
        chosen = known.chosen(names)
        if missing := keyless(chosen):
            if keys:
                raise WriterError(f"no key for {missing}: set the variable, or leave the writer out of --writers")
            console.note(f"no key is set for {missing}; nothing is sent, and none is needed")
        return chosen, True
    ready = known.ready()
    if not ready and not keys:
        console.note("no key is set: this is what the six families would be asked")
        return known.preset("default"), False
    return ready, False


def estimate(plan: "Plan", calls: Sequence["Foreseen"], budget: Decimal) -> None:
    """Say what a plan will cost, writer by writer."""
    table = console.table("writer\nmodel", "calls", "tokens\nin + out", "about $\nat most $")
    for seat in plan.seats:
        own = [one for one in calls if one.call.writer == seat.writer.name]
        due = [one for one in own if not one.answered]
        tokens = f"{sum(one.tokens[0] for one in due)} + {sum(one.tokens[1] for one in due)}"
        table.add_row(
            console.escape(f"{seat.writer.name}\n{seat.writer.entry.model}"),
            f"{len(due)}" + (f"\n{len(own) - len(due)} answered before" if len(due) < len(own) else ""),
            tokens,
            f"{dollars(_total(due))}\n{dollars(_most(due))}" + ("" if seat.writer.priced else " (worst case)"),
        )
    console.print(table)
    due = [one for one in calls if not one.answered]
    console.print(
        f"{len(due)} calls for about ${dollars(_total(due))}, at most ${dollars(_most(due))}, repairs and retries "
        f"aside; nothing is sent beyond the budget of ${dollars(budget)}."
    )
    if unknown := [seat.writer.name for seat in plan.seats if not seat.writer.priced]:
        console.print(
            f"Price unknown, counted at the worst case: {console.escape(', '.join(unknown))}; {PRICED_BY_YOU}."
        )


def agree(calls: Sequence["Foreseen"], yes: bool) -> None:
    """Ask the user before paying. Raises ``SettingsError`` where nobody can be asked and ``--yes`` is missing."""
    if yes or all(one.answered for one in calls):
        return
    if sys.stdin is None or not sys.stdin.isatty():  # None: closed by the shell (<&-)
        raise SettingsError(
            "nobody is here to agree to the cost: add --yes, name the writers with --writers, or take --writers offline"
        )
    if not typer.confirm("Ask them?", err=True):
        raise SettingsError("nothing was sent; --writers offline writes for nothing")


def dry_run(plan: "Plan", calls: Sequence["Foreseen"], budget: Decimal, as_json: bool) -> None:
    """Show the exact prompts, calls, tokens and cost."""
    if as_json:
        rows = [
            {
                "writer": one.call.writer,
                "model": one.call.model,
                "iteration": one.call.iteration,
                "call": one.call.hash if one.exact else None,
                "exact": one.exact,
                "answered": one.answered,
                "tokens": {"input": one.tokens[0], "output": one.tokens[1]},
                "likely_usd": str(one.likely),
                "most_usd": str(one.most),
                "prompt": one.call.prompt,
            }
            for one in calls
        ]
        due = [one for one in calls if not one.answered]
        console.print_json(
            {
                "concept": plan.concept.name,
                "split": plan.split,
                "template": plan.template.name,
                "template_hash": plan.template.hash,
                "budget_usd": str(budget),
                "likely_usd": str(_total(due)),
                "most_usd": str(_most(due)),
                "calls": rows,
            }
        )
        return
    asked_of: dict[str, list[str]] = {}
    for one in calls:
        if one.exact:
            asked_of.setdefault(one.call.prompt, []).append(f"{one.call.writer} {one.call.iteration + 1}")
    for prompt, places in asked_of.items():
        console.print(f"[bold]{console.escape(', '.join(places))}[/bold]  {console.escape(plan.template.name)}\n")
        console.print(console.escape(prompt))
    if later := sum(not one.exact for one in calls):
        console.print(
            f"{later} later calls ask the same again, and list what the same writer has given by then and is kept."
        )
    estimate(plan, calls, budget)
    console.print("Nothing was sent.")


def written(stage: StageSet, as_json: bool) -> None:
    """Say what a finished set of pairs holds."""
    summary = stage.summary
    if as_json:
        console.print_json(
            {"concept": stage.run.concept.name, "set": stage.fingerprint, "path": str(stage.path), **summary}
        )
        return
    train, test = summary["train"], summary["test"]
    table = console.table("target prompt", "surrogate prompt", title=f"{stage.run.concept.name}: some of the pairs")
    for pair in examples(stage, 4):
        table.add_row(console.escape(pair.target), console.escape(pair.surrogate or ""))
    console.print(table)
    console.print(
        f"[bold]{stage.run.concept.name}[/bold]: {train['accepted']} pairs and {test['accepted']} test prompts by "
        f"{console.escape(summary['writer'])}; rejected {train['malformed'] + test['malformed']} malformed, "
        f"{train['duplicate'] + test['duplicate']} duplicate."
    )
    for name, why in summary.get("set_aside", {}).items():
        console.print(f"{console.escape(name)} was set aside: {console.escape(why)}")
    if "spent" in summary:
        _spent({name: one for name, one in summary["writers"].items() if "dollars" in one})
    hint = "ecgvf render" if test["accepted"] else "ecgvf generate --split test --count 84"
    console.print(f"Set {stage.fingerprint} in {console.escape(str(stage.path))}. Next: [bold]{hint}[/bold]")


def _spent(writers: dict[str, Any]) -> None:
    """Say what the LLMs of a set cost; where a price is not known, what was counted is not called paid."""
    unknown = {name: one for name, one in writers.items() if not one["priced"]}
    paid = [one for name, one in writers.items() if name not in unknown]
    possibly = sum((Decimal(one["possibly"]) for one in paid), Decimal(0))
    if paid:
        console.print(
            f"Paid ${dollars(sum((Decimal(one['dollars']) for one in paid), Decimal(0)))}"
            + (f", and possibly ${dollars(possibly)} for calls that were cut off" if possibly else "")
            + ". More: [bold]ecgvf status[/bold]"
        )
    for name, one in unknown.items():
        if counted := Decimal(one["dollars"]) + Decimal(one["possibly"]):
            amount = f"${dollars(counted)} (price unknown, worst case)"
            console.print(f"{console.escape(name)}: counted as {amount}; {PRICED_BY_YOU}.")


def _total(calls: Sequence["Foreseen"]) -> Decimal:
    return sum((one.likely for one in calls), Decimal(0))


def _most(calls: Sequence["Foreseen"]) -> Decimal:
    return sum((one.most for one in calls), Decimal(0))
