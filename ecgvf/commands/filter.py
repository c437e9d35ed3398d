"""``filter``: a judge looks, the rule accepts; or two judges' verdicts side by side."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from ecgvf.commands.judge_options import (
    ClipFloorOption,
    ClipOption,
    CombineOption,
    ContrastOption,
    JudgeOption,
    LabelSetOption,
    LabelsOption,
    MostChangeOption,
    SeedsOption,
    ShareOption,
    TextOption,
    ThresholdOption,
    TopKOption,
    WeightsOption,
    judge_options,
)
from ecgvf.commands.options import ConceptOption, DeviceOption, JsonOption, SetOption, StoreOption
from ecgvf.core import console

if TYPE_CHECKING:
    from ecgvf.core.records import Verdict
    from ecgvf.core.run import ConceptRun

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command("filter")
def filter_pairs(
    concept: ConceptOption = None,
    judge: JudgeOption = None,
    labels: LabelsOption = None,
    label_set: LabelSetOption = None,
    top_k: TopKOption = None,
    threshold: ThresholdOption = None,
    weights: WeightsOption = None,
    text: TextOption = None,
    contrast: ContrastOption = None,
    combine: CombineOption = "all",
    seeds: SeedsOption = 1,
    share: ShareOption = 1.0,
    clip_floor: ClipFloorOption = None,
    clip: ClipOption = None,
    most_change: MostChangeOption = None,
    compare: Annotated[bool, typer.Option("--compare", help="Compare two judges' verdicts instead.")] = False,
    sets: Annotated[
        str | None, typer.Option("--sets", help="Two verdict sets for --compare, with a comma. [default: the last two]")
    ] = None,
    device: DeviceOption = "auto",
    chosen: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a judge look at the pictures, and accept the pairs that hold. What is not yet drawn is drawn first."""
    from ecgvf.core.errors import SettingsError
    from ecgvf.core.run import ConceptRun
    from ecgvf.core.store import Store

    console.json_mode(as_json)
    run = ConceptRun.load(Store(store), concept)
    known = run.concept
    from ecgvf.filter import Bounds, filter_images

    options = judge_options(labels, label_set, top_k, threshold, weights, text, contrast, combine, device)
    rule = Bounds(seeds=seeds, share=share, clip_floor=clip_floor, clip=clip, most_change=most_change)
    if compare or sets is not None:
        if judge is not None or chosen is not None or options.recorded() or weights is not None or rule != Bounds():
            raise SettingsError(
                "--compare reads verdicts that are there: name them with --sets, without options of a judge or a rule"
            )
        _compare(run, sets, as_json)
        return
    done = filter_images(
        run,
        judge=judge,
        options=options,
        bounds=rule,
        device=device,
        set_id=chosen,
    )
    if as_json:
        console.print_json(
            {"concept": known.name, "set": done.acceptance.fingerprint, "judge": done.judge, **done.acceptance.summary}
        )
        return
    console.print(
        f"[bold]{known.name}[/bold]: {console.escape(done.judge)} accepts {done.accepted_pairs} of {done.pairs} pairs "
        f"and {done.accepted_tests} of {done.tests} test prompts."
    )
    for reason, count in done.reasons.items():
        near = ", ".join(f"{count} {console.escape(label)}" for label, count in done.near_misses.items())
        console.print(
            f"  {count} × {reason}" + (f" (near misses: {near})" if near and reason == "target_absent" else "")
        )
    if done.reviewed:
        console.print(f"  {done.reviewed} decided by people")
    console.print(
        f"Set {done.acceptance.fingerprint} in {console.escape(str(done.acceptance.path))}. "
        f"Next: [bold]ear train --dataset ecgvf/{known.name}[/bold]"
    )


def _compare(run: "ConceptRun", sets: str | None, as_json: bool) -> None:

    from ecgvf.core.errors import SettingsError
    from ecgvf.filter.compare import compare_verdicts

    names = sets.split(",") if sets is not None else None
    if names is not None and len(names) != 2:
        raise SettingsError(f"--sets {sets}: name two sets, with a comma between them")
    found = compare_verdicts(run, None if names is None else (names[0], names[1]))
    said = ("judge", "judge_hash", "label_set", "accepted", "top_k", "threshold")
    sides = [{"set": one.fingerprint, **{key: one.settings[key] for key in said}} for one in found.sets]
    if as_json:
        disputed = [
            {
                "record_id": one.record_id,
                "role": one.role,
                "prompt": one.prompt,
                "present": [verdict.present for verdict in one.verdicts],
                "score": [verdict.score for verdict in one.verdicts],
            }
            for one in found.disputes
        ]
        console.print_json({"concept": run.concept.name, "sets": sides, **found.agreement.json(), "disputed": disputed})
        return
    one, other = (f"{side['judge']} {side['set'][:6]}" for side in sides)
    figures = found.agreement
    if found.disputes:
        table = console.table("picture of", one, other, title=f"{run.concept.name}: disputed")
        for case in found.disputes:
            table.add_row(
                console.escape(f"{case.role}: {case.prompt}"),
                *(console.escape(_verdict_in_words(verdict)) for verdict in case.verdicts),
            )
        console.print(table)
    console.print(
        f"[bold]{run.concept.name}[/bold]: {console.escape(one)} and {console.escape(other)} agree on "
        f"{figures.same} of {figures.share.n} pictures{_between(figures.share.low, figures.share.high)}; "
        f"Cohen's kappa {_number(figures.kappa.value)}{_between(figures.kappa.low, figures.kappa.high)}."
    )


def _verdict_in_words(verdict: "Verdict") -> str:
    seen = ", ".join(f"{label} {score:.2f}" for label, score in verdict.top_labels[:2]) or "nothing"
    return f"{'yes' if verdict.present else 'no'} {verdict.score:.2f} ({seen})"


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def _between(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" (95% {low:.3f} to {high:.3f})"
