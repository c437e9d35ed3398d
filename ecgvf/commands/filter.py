"""``filter``: stage 3, verdicts and accepted pairs; ``--compare`` sets two judges side by side."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import (
    BoundsArguments,
    ConceptOption,
    DeviceOption,
    EngineArguments,
    JsonOption,
    JudgeArguments,
    SetOption,
    StoreOption,
)
from ecgvf.core import console
from ecgvf.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ecgvf.core.figures import Figure
    from ecgvf.core.records import Verdict
    from ecgvf.filter import FilterResult
    from ecgvf.filter.compare import Comparison


@grouped
def filter_pairs(
    *,
    concept: ConceptOption = None,
    judging: JudgeArguments,
    bounding: BoundsArguments,
    engine: EngineArguments,
    compare: Annotated[bool, typer.Option("--compare", help="Compare the verdicts of two judges instead.")] = False,
    sets: Annotated[
        str | None,
        typer.Option(help="Two verdict sets for --compare, separated by a comma.", show_default="the last two"),
    ] = None,
    device: DeviceOption = "auto",
    set_id: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge the images and accept or reject every pair. Missing images are rendered, and judged as they finish."""
    from ecgvf import Run
    from ecgvf.filter.compare import compare_verdicts

    run = Run.load(concept, store)
    if compare or sets is not None:
        given = (judging, bounding, engine)
        if set_id is not None or given != (JudgeArguments(), BoundsArguments(), EngineArguments()):
            raise SettingsError("--compare reads existing verdicts: name them with --sets, and leave other options out")
        _print_comparison(run.concept.name, compare_verdicts(run, _two_sets(sets)))
        return
    options, bounds = judging.options(), bounding.bounds()
    result = run.filter(
        judge=judging.judge,
        options=options,
        bounds=bounds,
        device=device,
        set_id=set_id,
        engine=engine.create(device),
    )
    acceptance, judge = result.acceptance, result.judge
    facts = {"concept": run.concept.name, "set": acceptance.fingerprint, "judge": judge, **acceptance.summary}
    console.print_result({**facts, "failures": result.failures}, *_lines(result, store))


def _lines(result: "FilterResult", store: "Path | None") -> "Iterator[str]":
    from ecgvf.commands.results import location, next_command, publishing_command

    name = result.acceptance.run.concept.name
    yield f"[bold]{name}[/bold]: {console.escape(str(result))}."
    for reason, count in result.reasons.items():
        near = ", ".join(f"{count} {console.escape(label)}" for label, count in result.near_misses.items())
        yield f"  {count} × {reason}" + (f" (near misses: {near})" if near and reason == "target_absent" else "")
        if reason == "judge_failed":
            for failure, failed in result.failures.items():
                yield f"    {console.counted(failed, 'image')}: {console.escape(failure)}"
    if result.reviewed:
        yield f"  {result.reviewed} decided by reviewers"
    following = publishing_command(result.acceptance.run, f"ear train --dataset ecgvf/{name}")
    yield f"{location(result.acceptance)} {next_command(following, store=store)}"


def _two_sets(sets: str | None) -> tuple[str, str] | None:
    if sets is None:
        return None
    names = sets.split(",")
    if len(names) != 2:
        raise SettingsError(f"--sets {sets}: name two sets, with a comma between them")
    return names[0], names[1]


def _print_comparison(concept: str, comparison: "Comparison") -> None:
    keys = ("judge", "judge_hash", "label_set", "accepted", "top_k", "threshold")
    sides = [
        {"set": verdicts.fingerprint, **{key: verdicts.settings[key] for key in keys}} for verdicts in comparison.sets
    ]
    judges = [console.escape(f"{side['judge']} {side['set'][:6]}") for side in sides]
    disputes: list[dict[str, Any]] = []
    table = console.table("image of", *judges, title=f"{concept}: disputed")
    for dispute in comparison.disputes:
        facts = {"record_id": dispute.record_id, "role": dispute.role, "prompt": dispute.prompt}
        seen = {key: [getattr(verdict, key) for verdict in dispute.verdicts] for key in ("present", "score")}
        disputes.append(facts | seen)
        cells = (f"{dispute.role}: {dispute.prompt}", *map(_describe, dispute.verdicts))
        table.add_row(*map(console.escape, cells))
    agreement = comparison.agreement
    kappa = "undefined" if math.isnan(agreement.kappa.value) else f"{agreement.kappa.value:.3f}"
    console.print_result(
        {"concept": concept, "sets": sides, **agreement.json(), "disputed": disputes},
        *([table] if disputes else []),
        f"[bold]{concept}[/bold]: {' and '.join(judges)} agree on {agreement.same} of "
        f"{console.counted(agreement.share.n, 'image')}{_interval(agreement.share)}; "
        f"Cohen's kappa {kappa}{_interval(agreement.kappa)}.",
    )


def _describe(verdict: "Verdict") -> str:
    labels = ", ".join(f"{label} {score:.2f}" for label, score in verdict.top_labels[:2]) or "nothing"
    return f"{'yes' if verdict.present else 'no'} {verdict.score:.2f} ({labels})"


def _interval(figure: "Figure") -> str:
    return "" if math.isnan(figure.low) else f" (95% {figure.low:.3f} to {figure.high:.3f})"
