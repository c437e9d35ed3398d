"""``build``: generate, render and filter in rounds until N pairs are accepted."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import (
    BatchSizeOption,
    BoundsArguments,
    DeviceOption,
    GuidanceOption,
    JsonOption,
    JudgeArguments,
    ModelOption,
    NewConceptOption,
    SeedOption,
    StoreOption,
    WriterArguments,
)
from ecgvf.core import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ecgvf import Run
    from ecgvf.build import BuildResult
    from ecgvf.pairs.rounds import LLMRounds

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
@grouped
def build(
    *,
    concept: NewConceptOption = None,
    accepted: Annotated[int, typer.Option(help="Pairs to accept.")] = 50,
    tests: Annotated[int, typer.Option(help="Test prompts to write.")] = 100,
    rounds: Annotated[int, typer.Option(help="Greatest number of rounds.")] = 10,
    writing: WriterArguments,
    seed: SeedOption = 0,
    model: ModelOption = "janus-nano",
    guidance: GuidanceOption = None,
    batch_size: BatchSizeOption = 16,
    judging: JudgeArguments,
    bounding: BoundsArguments,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate, render and filter in rounds until N pairs are accepted, or say why not (exit 1)."""
    from ecgvf import Run

    console.json_mode(as_json)
    run = Run.fresh(store, concept)
    result = run.build(
        accepted=accepted,
        tests=tests,
        rounds=rounds,
        writers=_confirm_writers(run, writing, accepted, tests),
        seed=seed,
        model=model,
        guidance=guidance,
        batch_size=batch_size,
        judge=judging.judge,
        options=judging.options(device),
        bounds=bounding.bounds(),
        device=device,
    )
    _print_result(result, accepted, as_json)
    acceptance, pairs = result.filtered.acceptance, result.filtered.accepted_pairs
    if not result.reached:
        console.error(f"{pairs} of {accepted} pairs after {result.rounds} of {rounds} rounds: {result.advice}")
        raise typer.Exit(1)
    console.print(
        f"Set {acceptance.fingerprint} in {console.escape(str(acceptance.path))}. Next: [bold]ecgvf review[/bold]"
    )


def _confirm_writers(run: "Run", writing: WriterArguments, accepted: int, tests: int) -> "Sequence[LLMRounds] | None":
    """The LLM writers, after printing what the first round costs and asking the user; None for the offline writer."""
    from ecgvf.commands import pairs_output as output
    from ecgvf.pairs.rounds import LLMRounds, first_round

    selected, named = output.select_writers(
        writing.writers, writing.writer_url, writing.writer_model, writing.registry, keys=True
    )
    if not selected:
        return None
    writers = [LLMRounds(writer, selected, writing.budget, writing.templates) for writer in selected]
    plan, calls = first_round(run, writers, accepted=accepted, tests=tests)
    output.print_estimate(plan, calls, writing.budget)
    console.print("This is the first round; later rounds request what is still missing, under the same budget.")
    if not named:
        output.confirm(calls, writing.yes)
    return writers


def _print_result(result: "BuildResult", accepted: int, as_json: bool) -> None:
    """Print the outcome of a build; writer by writer if the goal was not reached."""
    filtered, name = result.filtered, result.filtered.acceptance.run.concept.name
    if as_json:
        writers = {writer: progress.json() for writer, progress in result.writers.items()}
        facts: dict[str, Any] = {"concept": name, "set": filtered.acceptance.fingerprint, "judge": filtered.judge}
        facts |= {"rounds": result.rounds, "reached": result.reached, **filtered.acceptance.summary}
        console.print_json({**facts, "writers": writers})
        return
    if not result.reached:
        table = console.table("writer", "goal", "accepted", "written", "rejected", title=f"{name}: the writers")
        for writer, progress in result.writers.items():
            reasons = ", ".join(f"{count} {reason}" for reason, count in progress.reasons.most_common())
            counts = map(str, (progress.goal, progress.accepted, progress.written))
            table.add_row(console.escape(writer), *counts, reasons)
        console.print(table)
    console.print(
        f"[bold]{name}[/bold]: {filtered.accepted_pairs} of {accepted} pairs accepted after {result.rounds} rounds, "
        f"and {filtered.accepted_tests} of {filtered.tests} test prompts; judge {console.escape(filtered.judge)}."
    )
