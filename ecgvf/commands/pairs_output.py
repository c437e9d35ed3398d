"""What ``ecgvf generate`` and ``ecgvf build`` select, confirm and print."""

import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ecgvf.core import console
from ecgvf.core.errors import SettingsError
from ecgvf.core.stage_set import StageSet
from ecgvf.llm.budget import dollars
from ecgvf.llm.registry import OFFLINE, LLMWriter, Registry, check_keys, missing_keys
from ecgvf.llm.secrets import unscrubbed_keys
from ecgvf.pairs.generate import examples

if TYPE_CHECKING:
    from ecgvf.llm.budget import CostEstimate
    from ecgvf.pairs.generation_plan import GenerationPlan

PRICED_BY_YOU = (
    "put it into a registry of your own (--registry) with its price, 0 for a free server, to count what it costs"
)


def select_writers(
    names: str | None, url: str | None, model: str | None, registry: Path | None, *, keys: bool
) -> tuple[list[LLMWriter], bool]:
    """The LLMs that will write (none: the offline writer), and whether the user named them.

    With ``keys``, each needs its key, because something will be sent; warns of keys that are not scrubbed. Raises
    ``SettingsError``, ``WriterError``.
    """
    writers, named = _select(names, url, model, registry, keys=keys)
    if keys and (unscrubbed := unscrubbed_keys(writers)):
        variables = ", ".join(unscrubbed)
        console.warn(f"too short or too simple to be a secret, so not scrubbed from what servers send: {variables}")
    return writers, named


def _select(
    names: str | None, url: str | None, model: str | None, registry: Path | None, *, keys: bool
) -> tuple[list[LLMWriter], bool]:
    if (url is None) != (model is None):
        raise SettingsError("--writer-url and --writer-model go together: which server, and which of its models")
    if url is not None and model is not None:
        if names is not None:
            raise SettingsError("--writers and --writer-url: name one of them")
        return [Registry(registry).own_server(url, model)], True
    if names is not None and names.strip() == OFFLINE:
        return [], True
    known = Registry(registry)
    if names is not None:
        if OFFLINE in [part.strip() for part in names.split(",")]:
            raise SettingsError("the offline writer writes alone: --writers offline, or the names of LLMs")
        writers = known.select(names)
        if keys:
            check_keys(writers)
        elif missing := missing_keys(writers):
            console.note(f"no key is set for {missing}; nothing is sent, and none is needed")
        return writers, True
    ready = known.ready()
    if not ready and not keys:
        console.note("no key is set: these are the calls that the six families would get")
        return known.preset("default"), False
    return ready, False


def print_estimate(plan: "GenerationPlan", estimates: Sequence["CostEstimate"], budget: Decimal) -> None:
    """Print what a plan will cost, per writer and in total."""
    table = console.table("writer\nmodel", "calls", "tokens\nin + out", "about $\nat most $")
    for share in plan.shares:
        writer = share.writer
        own = [estimate for estimate in estimates if estimate.call.writer == writer.name]
        due = _due(own)
        tokens = f"{sum(call.input_tokens for call in due)} + {sum(call.output_tokens for call in due)}"
        table.add_row(
            console.escape(f"{writer.name}\n{writer.config.model}"),
            f"{len(due)}" + (f"\n{len(own) - len(due)} answered before" if len(due) < len(own) else ""),
            tokens,
            f"{dollars(_likely(due))}\n{dollars(_most(due))}" + ("" if writer.priced else " (worst case)"),
        )
    console.print(table)
    due = _due(estimates)
    console.print(
        f"{len(due)} calls for about ${dollars(_likely(due))}, at most ${dollars(_most(due))}, repairs and retries "
        f"aside; nothing is sent beyond the budget of ${dollars(budget)}."
    )
    if unpriced := [share.writer.name for share in plan.shares if not share.writer.priced]:
        console.print(
            f"Price unknown, counted at the worst case: {console.escape(', '.join(unpriced))}; {PRICED_BY_YOU}."
        )


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


def print_dry_run(plan: "GenerationPlan", estimates: Sequence["CostEstimate"], budget: Decimal, as_json: bool) -> None:
    """Print the exact prompts, calls, tokens and cost."""
    if as_json:
        console.print_json(_dry_run_json(plan, estimates, budget))
        return
    calls: dict[str, list[str]] = {}
    for estimate in estimates:
        if estimate.exact:
            calls.setdefault(estimate.call.prompt, []).append(f"{estimate.call.writer} {estimate.call.iteration + 1}")
    for prompt, names in calls.items():
        console.print(f"[bold]{console.escape(', '.join(names))}[/bold]  {console.escape(plan.template.name)}\n")
        console.print(console.escape(prompt))
    if later := sum(not estimate.exact for estimate in estimates):
        console.print(
            f"{later} later calls repeat this request, and list the prompts kept from the same writer by then."
        )
    print_estimate(plan, estimates, budget)
    console.print("Nothing was sent.")


def _dry_run_json(plan: "GenerationPlan", estimates: Sequence["CostEstimate"], budget: Decimal) -> dict[str, Any]:
    calls = [
        {
            "writer": estimate.call.writer,
            "model": estimate.call.model,
            "iteration": estimate.call.iteration,
            "call": estimate.call.hash if estimate.exact else None,
            "exact": estimate.exact,
            "answered": estimate.answered,
            "tokens": {"input": estimate.input_tokens, "output": estimate.output_tokens},
            "likely_usd": str(estimate.likely),
            "most_usd": str(estimate.most),
            "prompt": estimate.call.prompt,
        }
        for estimate in estimates
    ]
    return {
        "concept": plan.concept.name,
        "split": plan.split,
        "template": plan.template.name,
        "template_hash": plan.template.hash,
        "budget_usd": str(budget),
        "likely_usd": str(_likely(_due(estimates))),
        "most_usd": str(_most(_due(estimates))),
        "calls": calls,
    }


def print_set(stage_set: StageSet, as_json: bool) -> None:
    """Print what a finished set of pairs contains."""
    summary, concept = stage_set.summary, stage_set.run.concept.name
    if as_json:
        console.print_json({"concept": concept, "set": stage_set.fingerprint, "path": str(stage_set.path), **summary})
        return
    train, test = summary["train"], summary["test"]
    table = console.table("target prompt", "surrogate prompt", title=f"{concept}: some of the pairs")
    for pair in examples(stage_set, 4):
        table.add_row(console.escape(pair.target), console.escape(pair.surrogate or ""))
    console.print(table)
    console.print(
        f"[bold]{concept}[/bold]: {train['accepted']} pairs and {test['accepted']} test prompts by "
        f"{console.escape(summary['writer'])}; rejected {train['malformed'] + test['malformed']} malformed, "
        f"{train['duplicate'] + test['duplicate']} duplicate."
    )
    for name, why in summary.get("set_aside", {}).items():
        console.print(f"{console.escape(name)} was set aside: {console.escape(why)}")
    if "spent" in summary:
        _print_spending({name: stats for name, stats in summary["writers"].items() if "dollars" in stats})
    next_command = "ecgvf render" if test["accepted"] else "ecgvf generate --split test --count 84"
    path = console.escape(str(stage_set.path))
    console.print(f"Set {stage_set.fingerprint} in {path}. Next: [bold]{next_command}[/bold]")


def _print_spending(writers: Mapping[str, Mapping[str, Any]]) -> None:
    """Print what the LLMs of a set cost; an amount at an unknown price is called counted, not paid."""
    priced = [stats for stats in writers.values() if stats["priced"]]
    if priced:
        paid, possibly = (sum((Decimal(stats[key]) for stats in priced), Decimal(0)) for key in ("dollars", "possibly"))
        console.print(
            f"Paid ${dollars(paid)}"
            + (f", and possibly ${dollars(possibly)} for calls that were cut off" if possibly else "")
            + ". More: [bold]ecgvf status[/bold]"
        )
    for name, stats in writers.items():
        counted = Decimal(stats["dollars"]) + Decimal(stats["possibly"])
        if counted and not stats["priced"]:
            amount = f"${dollars(counted)} (price unknown, worst case)"
            console.print(f"{console.escape(name)}: counted as {amount}; {PRICED_BY_YOU}.")


def _due(estimates: Sequence["CostEstimate"]) -> list["CostEstimate"]:
    return [estimate for estimate in estimates if not estimate.answered]


def _likely(estimates: Sequence["CostEstimate"]) -> Decimal:
    return sum((estimate.likely for estimate in estimates), Decimal(0))


def _most(estimates: Sequence["CostEstimate"]) -> Decimal:
    return sum((estimate.most for estimate in estimates), Decimal(0))
