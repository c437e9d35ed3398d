"""``render``: stage 2, images."""

from dataclasses import asdict
from typing import Annotated

import typer

from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import (
    ConceptOption,
    EngineArguments,
    JsonOption,
    RawControlTokensOption,
    RenderArguments,
    SetOption,
    StoreOption,
)
from ecgvf.core import console


@grouped
def render(
    *,
    concept: ConceptOption = None,
    rendering: RenderArguments,
    engine: EngineArguments,
    temperature: Annotated[
        float | None,
        typer.Option(help="Sampling temperature; 0 takes the most likely token.", show_default="the model's own"),
    ] = None,
    raw_control_tokens: RawControlTokensOption = False,
    set_id: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Render both prompts of each pair from the same seed."""
    from ecgvf import Run
    from ecgvf.commands.results import location, next_command, set_facts

    run = Run.load(concept, store)
    result = run.render(
        **asdict(rendering),
        temperature=temperature,
        raw_control_tokens=raw_control_tokens,
        set_id=set_id,
        engine=engine.create(rendering.device),
    )
    images, summary = result.images, result.images.summary
    console.print_result(
        {**set_facts(images), "new": result.rendered, **summary},
        f"[bold]{run.concept.name}[/bold]: {console.counted(summary['pictures'] - summary['failed'], 'image')} by "
        f"{console.escape(images.settings['model'])} ({result.rendered} new), {summary['failed']} failed.",
        *(f"  {count} × {console.escape(reason)}" for reason, count in summary["failures"].items()),
        f"{location(images)} {next_command('ecgvf filter', concept=concept, store=store)}",
    )
