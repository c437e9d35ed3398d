"""What ``ecgvf generate`` and ``ecgvf build`` print, and the cost that users confirm."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import RenderableType

from ecgvf.commands.grouping import to_argv
from ecgvf.commands.results import location, next_command, rendering_command, set_facts
from ecgvf.core import console
from ecgvf.core.errors import SettingsError
from ecgvf.core.records import SPLITS
from ecgvf.core.stage_set import StageSet
from ecgvf.llm.budget import dollars
from ecgvf.pairs.splits import counts_text, examples

if TYPE_CHECKING:
    from ecgvf.commands.options import WriterArguments
    from ecgvf.llm.budget import CostEstimate
    from ecgvf.pairs.generation_plan import GenerationPlan

PRICED_BY_YOU = (
    "put it into a registry of your own (--registry) with its price, 0 for a free server, to count what it costs"
)


def estimate_lines(
    plans: Sequence["GenerationPlan"], estimates: Sequence["CostEstimate"], budget: Decimal
) -> Iterator[RenderableType]:
    """What the plans will cost, per writer and in total."""
    table = console.table("writer\nmodel", "calls", "tokens\nin + out", "about $\nat most $")
    for writer in (plan.writer for plan in plans):
        own = [estimate for estimate in estimates if estimate.call.writer == writer.name]
        due = _due(own)
        table.add_row(
            console.escape(f"{writer.name}\n{writer.config.model}"),
            f"{len(due)}" + (f"\n{len(own) - len(due)} answered before" if len(due) < len(own) else ""),
            f"{sum(call.input_tokens for call in due)} + {sum(call.output_tokens for call in due)}",
            "\n".join(map(dollars, _cost(due))) + ("" if writer.priced else " (worst case)"),
        )
    yield table
    likely, most = map(dollars, _cost(estimates))
    yield (
        f"{console.counted(len(_due(estimates)), 'call')} for about ${likely}, at most ${most}, without repairs and "
        f"retries. Whatever would cost more than the budget of ${dollars(budget)} is not sent."
    )
    if unpriced := [plan.writer.name for plan in plans if not plan.writer.priced]:
        yield f"Price unknown, counted at the worst case: {console.escape(', '.join(unpriced))}; {PRICED_BY_YOU}."


def confirm(estimates: Sequence["CostEstimate"], yes: bool) -> None:
    """Let the user confirm the cost. Raises ``SettingsError`` without ``--yes`` if there is no terminal to ask on."""
    if yes or not _due(estimates):
        return
    if sys.stdin is None or not sys.stdin.isatty():  # None: closed by the shell (<&-)
        raise SettingsError(
            "there is no terminal to confirm the cost on: add --yes, name the writers with --writers, or use "
            "--writers offline"
        )
    if not typer.confirm("Send these calls?", err=True):
        raise SettingsError("nothing was sent; --writers offline is free")


def print_dry_run(plans: Sequence["GenerationPlan"], estimates: Sequence["CostEstimate"], budget: Decimal) -> None:
    """Print the exact prompts, calls, tokens and cost."""
    plan = plans[0]
    likely, most = map(str, _cost(estimates))
    facts = {"concept": plan.concept.name, "split": plan.split}
    facts |= {"template": plan.template.name, "template_hash": plan.template.hash}
    facts |= {"budget_usd": str(budget), "likely_usd": likely, "most_usd": most}
    console.print_result(
        {**facts, "calls": [_call_facts(estimate) for estimate in estimates]},
        *_prompts(plan.template.name, estimates),
        *estimate_lines(plans, estimates, budget),
        "Nothing was sent.",
    )


def _call_facts(estimate: "CostEstimate") -> dict[str, Any]:
    call = estimate.call
    return {
        "writer": call.writer,
        "model": call.model,
        "iteration": call.iteration,
        "call": call.hash if estimate.exact else None,
        "exact": estimate.exact,
        "answered": estimate.answered,
        "tokens": {"input": estimate.input_tokens, "output": estimate.output_tokens},
        "likely_usd": str(estimate.likely),
        "most_usd": str(estimate.most),
        "prompt": call.prompt,
    }


def _prompts(template: str, estimates: Sequence["CostEstimate"]) -> Iterator[str]:
    """Each prompt once, under the calls that send it."""
    calls: dict[str, list[str]] = {}
    for estimate in estimates:
        if estimate.exact:
            calls.setdefault(estimate.call.prompt, []).append(f"{estimate.call.writer} {estimate.call.iteration + 1}")
    for prompt, names in calls.items():
        yield f"[bold]{console.escape(', '.join(names))}[/bold]  {console.escape(template)}\n"
        yield console.escape(prompt)
    if later := sum(not estimate.exact for estimate in estimates):
        later_calls = console.counted(later, "later call")
        yield f"{later_calls}: the same request, with the prompts kept from the same writer by then."


def print_set(stage_set: StageSet, following: str = "") -> None:
    """Print what a finished set of pairs contains, and the ``following`` command (``command_after``)."""
    summary, concept = stage_set.summary, stage_set.run.concept.name
    table = console.table("target prompt", "surrogate prompt", title=f"{concept}: some of the prompts")
    for pair in examples(stage_set, 4):
        table.add_row(console.escape(pair.target), console.escape(pair.surrogate or ""))
    set_aside = summary.get("set_aside", {}).items()
    paid = {name: stats for name, stats in summary.get("writers", {}).items() if "dollars" in stats}
    console.print_result(
        {**set_facts(stage_set), **summary},
        table,
        f"[bold]{concept}[/bold]: {accepted_counts(summary)} by {console.escape(summary['writer'])}; "
        f"{rejected_counts(summary)}.",
        *(f"{console.escape(name)} stopped: {console.escape(why)}" for name, why in set_aside),
        *(_spending(paid) if "spent" in summary else ()),
        f"{location(stage_set)} {following}".rstrip(),
    )


def accepted_counts(summary: Mapping[str, Any]) -> str:
    """What a finished set of pairs has of each split, in words."""
    return counts_text({split: summary[split]["accepted"] for split in SPLITS if split in summary})


def rejected_counts(summary: Mapping[str, Any]) -> str:
    """What stage 1 rejected, in words."""
    tallies = [summary[split] for split in SPLITS if split in summary]
    malformed, duplicate = (sum(each[why] for each in tallies) for why in ("malformed", "duplicate"))
    return f"rejected {malformed} malformed, {duplicate} duplicate"


def command_after(stage_set: StageSet, options: "WriterArguments", store: Path | None, batch: bool = False) -> str:
    """The next command after a finished set of pairs, by the same writers and with the other options."""
    summary = stage_set.summary
    again = shlex.join(["ecgvf", "generate", *to_argv(options)])  # by the same writers
    if not summary["train"]["accepted"]:
        return next_command(again, batch=batch, store=store)
    for split in ("validation", "test"):
        if not summary[split]["accepted"]:
            return next_command(again, split=split, batch=batch, store=store)
    return next_command(rendering_command(stage_set.run), store=store)


def _spending(writers: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What the LLMs of a set cost; an amount at an unknown price is called counted, not paid."""
    priced = [stats for stats in writers.values() if stats["priced"]]
    if priced:
        paid, possibly = (sum((Decimal(stats[key]) for stats in priced), Decimal(0)) for key in ("dollars", "possibly"))
        cut_off = f", and possibly ${dollars(possibly)} for calls that were cut off" if possibly else ""
        yield f"Paid ${dollars(paid)}{cut_off}. More: [bold]ecgvf status[/bold]"
    for name, stats in writers.items():
        counted = Decimal(stats["dollars"]) + Decimal(stats["possibly"])
        if counted and not stats["priced"]:
            amount = f"${dollars(counted)} (price unknown, worst case)"
            yield f"{console.escape(name)}: counted as {amount}; {PRICED_BY_YOU}."


def _due(estimates: Sequence["CostEstimate"]) -> list["CostEstimate"]:
    return [estimate for estimate in estimates if not estimate.answered]


def _cost(estimates: Sequence["CostEstimate"]) -> tuple[Decimal, Decimal]:
    """What the calls that are due cost in US dollars: likely, and at most."""
    due = _due(estimates)
    return sum((call.likely for call in due), Decimal(0)), sum((call.most for call in due), Decimal(0))
