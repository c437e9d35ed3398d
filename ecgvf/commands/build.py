"""``build``: generate, render and filter in rounds."""

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
from ecgvf.commands.options import (
    BatchSizeOption,
    DeviceOption,
    GuidanceOption,
    JsonOption,
    ModelOption,
    NewConceptOption,
    StoreOption,
)
from ecgvf.commands.writer_options import (
    BudgetOption,
    RegistryOption,
    TemplatesOption,
    WriterModelOption,
    WritersOption,
    WriterUrlOption,
    YesOption,
)
from ecgvf.core import console

if TYPE_CHECKING:
    from ecgvf.build import BuildResult
    from ecgvf.core.concepts import Concept

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
def build(
    concept: NewConceptOption = None,
    accepted: Annotated[int, typer.Option(help="Pairs that have to hold.")] = 50,
    tests: Annotated[int, typer.Option(help="Test prompts to write.")] = 100,
    rounds: Annotated[int, typer.Option(help="Rounds at most.")] = 10,
    writers: WritersOption = None,
    writer_url: WriterUrlOption = None,
    writer_model: WriterModelOption = None,
    budget_usd: BudgetOption = 5.0,
    yes: YesOption = False,
    templates: TemplatesOption = None,
    registry: RegistryOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    model: ModelOption = "janus-nano",
    guidance: GuidanceOption = None,
    batch_size: BatchSizeOption = 16,
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
    device: DeviceOption = "auto",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate, render and filter in rounds until so many pairs hold, or say why not (exit 1)."""
    from decimal import Decimal

    from ecgvf.build import build as build_rounds
    from ecgvf.commands import pairs_output as show
    from ecgvf.core.concepts import find
    from ecgvf.core.run import ConceptRun
    from ecgvf.core.store import Store
    from ecgvf.filter import Bounds
    from ecgvf.pairs.rounds import Paid, first_round

    console.json_mode(as_json)
    opened = Store(store)
    known = find(concept) if concept is not None else opened.concept()
    run = ConceptRun(opened, known)
    options = judge_options(labels, label_set, top_k, threshold, weights, text, contrast, combine, device)
    bounds = Bounds(seeds=seeds, share=share, clip_floor=clip_floor, clip=clip, most_change=most_change)
    chosen, named = show.select_writers(writers, writer_url, writer_model, registry, keys=True)
    team = [Paid(one, chosen, Decimal(str(budget_usd)), templates) for one in chosen]
    if team:
        plan, calls = first_round(run, team, accepted=accepted, tests=tests)
        show.estimate(plan, calls, team[0].budget_usd)
        console.print("That is the first round; the next ones ask for what is then missing, under the same budget.")
        if not named:
            show.agree(calls, yes)
    done = build_rounds(
        run,
        accepted=accepted,
        tests=tests,
        rounds=rounds,
        writers=team or None,
        seed=seed,
        model=model,
        guidance=guidance,
        batch_size=batch_size,
        judge=judge,
        options=options,
        bounds=bounds,
        device=device,
    )
    _tell(done, known, accepted, as_json)
    if not done.reached:
        have = done.filtered.accepted_pairs
        console.error(f"{have} of {accepted} pairs after {done.rounds} of {rounds} rounds: {done.advice}")
        raise typer.Exit(1)
    stage = done.filtered.acceptance
    console.print(f"Set {stage.fingerprint} in {console.escape(str(stage.path))}. Next: [bold]ecgvf review[/bold]")


def _tell(done: "BuildResult", concept: "Concept", accepted: int, as_json: bool) -> None:
    """What came of a build; writer by writer where it was not reached."""

    filtered = done.filtered
    if as_json:
        told = {"concept": concept.name, "set": filtered.acceptance.fingerprint, "judge": filtered.judge}
        yields = {name: one.json() for name, one in done.writers.items()}
        console.print_json(
            {**told, "rounds": done.rounds, "reached": done.reached, **filtered.acceptance.summary, "writers": yields}
        )
        return
    if not done.reached:
        table = console.table(
            "writer", "goal", "accepted", "written", "why not", title=f"{concept.name}: what came of it"
        )
        for name, one in done.writers.items():
            why = ", ".join(f"{count} {reason}" for reason, count in one.reasons.most_common())
            table.add_row(console.escape(name), str(one.goal), str(one.accepted), str(one.written), why)
        console.print(table)
    console.print(
        f"[bold]{concept.name}[/bold]: {filtered.accepted_pairs} of {accepted} pairs hold after {done.rounds} rounds, "
        f"and {filtered.accepted_tests} of {filtered.tests} test prompts; judge {console.escape(filtered.judge)}."
    )
