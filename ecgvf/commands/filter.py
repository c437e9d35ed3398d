"""``filter``: stage 3, verdicts and accepted pairs; ``--compare`` sets two judges side by side."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import (
    BoundsArguments,
    ConceptOption,
    DeviceOption,
    JsonOption,
    JudgeArguments,
    SetOption,
    StoreOption,
)
from ecgvf.core import console
from ecgvf.core.errors import SettingsError

if TYPE_CHECKING:
    from ecgvf.core.figures import Figure
    from ecgvf.core.records import Verdict
    from ecgvf.filter import FilterResult
    from ecgvf.filter.compare import Comparison

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command("filter")
@grouped
def filter_pairs(
    *,
    concept: ConceptOption = None,
    judging: JudgeArguments,
    bounding: BoundsArguments,
    compare: Annotated[bool, typer.Option("--compare", help="Compare two judges' verdicts instead.")] = False,
    sets: Annotated[
        str | None,
        typer.Option("--sets", help="Two verdict sets for --compare, with a comma.", show_default="the last two"),
    ] = None,
    device: DeviceOption = "auto",
    set_id: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge the images and accept or reject every pair. Missing images are rendered first."""
    from ecgvf import Run
    from ecgvf.filter.compare import compare_verdicts

    console.json_mode(as_json)
    run = Run.load(store, concept)
    if compare or sets is not None:
        if set_id is not None or judging != JudgeArguments() or bounding != BoundsArguments():
            raise SettingsError("--compare reads existing verdicts: name them with --sets, and leave other options out")
        _print_comparison(run.concept.name, compare_verdicts(run, _two_sets(sets)), as_json)
        return
    options, bounds = judging.options(device), bounding.bounds()
    result = run.filter(judge=judging.judge, options=options, bounds=bounds, device=device, set_id=set_id)
    _print_result(result, as_json)


def _print_result(result: "FilterResult", as_json: bool) -> None:
    acceptance, name = result.acceptance, result.acceptance.run.concept.name
    if as_json:
        facts = {"concept": name, "set": acceptance.fingerprint, "judge": result.judge}
        console.print_json({**facts, **acceptance.summary})
        return
    console.print(
        f"[bold]{name}[/bold]: {console.escape(result.judge)} accepts {result.accepted_pairs} of {result.pairs} pairs "
        f"and {result.accepted_tests} of {result.tests} test prompts."
    )
    for reason, count in result.reasons.items():
        near = ", ".join(f"{count} {console.escape(label)}" for label, count in result.near_misses.items())
        suffix = f" (near misses: {near})" if near and reason == "target_absent" else ""
        console.print(f"  {count} × {reason}{suffix}")
    if result.reviewed:
        console.print(f"  {result.reviewed} decided by reviewers")
    console.print(
        f"Set {acceptance.fingerprint} in {console.escape(str(acceptance.path))}. "
        f"Next: [bold]ear train --dataset ecgvf/{name}[/bold]"
    )


def _two_sets(sets: str | None) -> tuple[str, str] | None:
    if sets is None:
        return None
    names = sets.split(",")
    if len(names) != 2:
        raise SettingsError(f"--sets {sets}: name two sets, with a comma between them")
    return names[0], names[1]


def _print_comparison(concept: str, comparison: "Comparison", as_json: bool) -> None:
    keys = ("judge", "judge_hash", "label_set", "accepted", "top_k", "threshold")
    sides = [
        {"set": verdicts.fingerprint, **{key: verdicts.settings[key] for key in keys}} for verdicts in comparison.sets
    ]
    if as_json:
        disputes = [
            {
                "record_id": dispute.record_id,
                "role": dispute.role,
                "prompt": dispute.prompt,
                "present": [verdict.present for verdict in dispute.verdicts],
                "score": [verdict.score for verdict in dispute.verdicts],
            }
            for dispute in comparison.disputes
        ]
        figures = comparison.agreement.json()
        console.print_json({"concept": concept, "sets": sides, **figures, "disputed": disputes})
        return
    judges = [f"{side['judge']} {side['set'][:6]}" for side in sides]
    if comparison.disputes:
        table = console.table("image of", *map(console.escape, judges), title=f"{concept}: disputed")
        for dispute in comparison.disputes:
            verdicts = (console.escape(_describe(verdict)) for verdict in dispute.verdicts)
            table.add_row(console.escape(f"{dispute.role}: {dispute.prompt}"), *verdicts)
        console.print(table)
    agreement = comparison.agreement
    console.print(
        f"[bold]{concept}[/bold]: {console.escape(' and '.join(judges))} agree on {agreement.same} of "
        f"{agreement.share.n} images{_interval(agreement.share)}; Cohen's kappa "
        f"{'undefined' if math.isnan(agreement.kappa.value) else f'{agreement.kappa.value:.3f}'}"
        f"{_interval(agreement.kappa)}."
    )


def _describe(verdict: "Verdict") -> str:
    labels = ", ".join(f"{label} {score:.2f}" for label, score in verdict.top_labels[:2]) or "nothing"
    return f"{'yes' if verdict.present else 'no'} {verdict.score:.2f} ({labels})"


def _interval(figure: "Figure") -> str:
    return "" if math.isnan(figure.low) else f" (95% {figure.low:.3f} to {figure.high:.3f})"
