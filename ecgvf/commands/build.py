"""``build``: generate, render and filter in rounds until N pairs are accepted."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import (
    BoundsArguments,
    JsonOption,
    JudgeArguments,
    NewConceptOption,
    RenderArguments,
    StoreOption,
    WriterArguments,
)
from ecgvf.core import console
from ecgvf.pairs.default_counts import ACCEPTED_PAIRS, ROUNDS, TEST_PROMPTS, VALIDATION_PROMPTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from ecgvf import Run
    from ecgvf.build import BuildResult
    from ecgvf.pairs.rounds import RoundWriter


@grouped
def build(
    *,
    concept: NewConceptOption = None,
    accepted: Annotated[int, typer.Option(help="Number of pairs to accept.")] = ACCEPTED_PAIRS,
    validation: Annotated[int, typer.Option(help="Validation prompts to write.")] = VALIDATION_PROMPTS,
    tests: Annotated[int, typer.Option(help="Test prompts to write.")] = TEST_PROMPTS,
    rounds: Annotated[int, typer.Option(help="Maximum number of rounds.")] = ROUNDS,
    writing: WriterArguments,
    rendering: RenderArguments,
    judging: JudgeArguments,
    bounding: BoundsArguments,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate, render and filter in rounds until N pairs are accepted, or say why not (exit 1)."""
    from ecgvf import Run

    run = Run.from_definition(concept, store)
    result = run.build(
        accepted=accepted,
        validation=validation,
        tests=tests,
        rounds=rounds,
        writers=_confirm_writers(run, writing, accepted, validation, tests),
        judge=judging.judge,
        options=judging.options(),
        bounds=bounding.bounds(),
        **asdict(rendering),
    )
    console.print_result(_facts(result), *_lines(result, accepted, store))
    if not result.reached:
        pairs, of_rounds = console.counted(accepted, "pair"), console.counted(rounds, "round")
        reached = f"{result.filtered.accepted['train']} of {pairs} after {result.rounds} of {of_rounds}"
        console.error(f"{reached}: {result.advice}")
        raise typer.Exit(1)


def _confirm_writers(
    run: "Run", writing: WriterArguments, accepted: int, validation: int, tests: int
) -> "Sequence[RoundWriter]":
    """The LLMs, after printing the cost of the first round and asking the user to confirm; or the offline writer."""
    from ecgvf.commands import pairs_output as output
    from ecgvf.commands.select_writers import select_writers
    from ecgvf.pairs.offline import OfflineWriter
    from ecgvf.pairs.rounds import LLMRounds, OfflineRounds, first_round

    selected, named = select_writers(writing, keys=True)
    if not selected:
        return [OfflineRounds(OfflineWriter(writing.surrogates))]
    writers = [
        LLMRounds(writer, selected, writing.budget, writing.templates, writing.surrogates) for writer in selected
    ]
    plans, calls = first_round(run, writers, accepted=accepted, validation=validation, tests=tests)
    console.print(
        *output.estimate_lines(plans, calls, writing.budget),
        "This is the first round; later rounds request what is still missing, under the same budget.",
    )
    if not named:
        output.confirm(calls, writing.yes)
    return writers


def _facts(result: "BuildResult") -> dict[str, Any]:
    """The outcome of a build for ``--json``."""
    filtered = result.filtered
    return {
        "concept": filtered.acceptance.run.concept.name,
        "set": filtered.acceptance.fingerprint,
        "judge": filtered.judge,
        "rounds": result.rounds,
        "reached": result.reached,
        **filtered.acceptance.summary,
        "writers": {writer: progress.json() for writer, progress in result.writers.items()},
    }


def _lines(result: "BuildResult", accepted: int, store: "Path | None") -> "Iterator[RenderableType]":
    """The outcome of a build in words; writer by writer if the goal was not reached."""
    from ecgvf.commands.results import location, next_command, publishing_command

    filtered, name = result.filtered, result.filtered.acceptance.run.concept.name
    if not result.reached:
        table = console.table("writer", "goal", "accepted", "written", "rejected", title=f"{name}: the writers")
        for writer, progress in result.writers.items():
            reasons = ", ".join(f"{count} {reason}" for reason, count in progress.reasons.most_common())
            counts = map(str, (progress.goal, progress.accepted, progress.written))
            table.add_row(console.escape(writer), *counts, reasons)
        yield table
    yield (
        f"[bold]{name}[/bold]: {filtered.accepted['train']} of {console.counted(accepted, 'pair')} accepted after "
        f"{console.counted(result.rounds, 'round')}, and {filtered.evaluation}; judge {console.escape(filtered.judge)}."
    )
    if result.reached:
        following = publishing_command(filtered.acceptance.run, "ecgvf review")
        yield f"{location(filtered.acceptance)} {next_command(following, store=store)}"
