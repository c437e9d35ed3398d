"""``render``: stage 2, pictures."""

from typing import Annotated

import typer

from ecgvf.commands.options import (
    BatchSizeOption,
    ConceptOption,
    DeviceOption,
    GuidanceOption,
    JsonOption,
    ModelOption,
    SetOption,
    StoreOption,
)
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
def render(
    concept: ConceptOption = None,
    model: ModelOption = "janus-nano",
    guidance: GuidanceOption = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of sampling; 0 takes the most likely token. [default: the model's own]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    batch_size: BatchSizeOption = 16,
    device: DeviceOption = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16, or auto.")] = "auto",
    chosen: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw both prompts of each pair with the same seed, and every test prompt."""
    from ecgvf.core.run import ConceptRun
    from ecgvf.core.store import Store

    console.json_mode(as_json)
    run = ConceptRun.load(Store(store), concept)
    known = run.concept
    from ecgvf.render import render as draw

    done = draw(
        run,
        model=model,
        guidance=guidance,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        set_id=chosen,
    )
    stage, summary = done.images, done.images.summary
    if as_json:
        console.print_json(
            {"concept": known.name, "set": stage.fingerprint, "path": str(stage.path), "new": done.rendered, **summary}
        )
        return
    drawn = summary["pictures"] - summary["failed"]
    console.print(
        f"[bold]{known.name}[/bold]: {drawn} pictures by {console.escape(stage.settings['model'])} "
        f"({done.rendered} new), {summary['failed']} failed."
    )
    for why, count in summary["failures"].items():
        console.print(f"  {count} × {console.escape(why)}")
    console.print(f"Set {stage.fingerprint} in {console.escape(str(stage.path))}. Next: [bold]ecgvf filter[/bold]")
