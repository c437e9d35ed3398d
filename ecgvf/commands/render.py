"""``render``: stage 2, images."""

from typing import TYPE_CHECKING, Annotated

import typer

from ecgvf.commands.options import (
    BatchSizeOption,
    ConceptOption,
    DeviceOption,
    DtypeOption,
    GuidanceOption,
    JsonOption,
    ModelOption,
    SeedOption,
    SetOption,
    StoreOption,
)
from ecgvf.core import console

if TYPE_CHECKING:
    from ecgvf.render import RenderResult

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
def render(
    concept: ConceptOption = None,
    model: ModelOption = "janus-nano",
    guidance: GuidanceOption = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Sampling temperature; 0 takes the most likely token.", show_default="the model's own"),
    ] = None,
    seed: SeedOption = 0,
    batch_size: BatchSizeOption = 16,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    set_id: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Render both prompts of each pair from the same seed, and every test prompt."""
    from ecgvf import Run

    console.json_mode(as_json)
    run = Run.load(store, concept)
    result = run.render(
        model=model,
        guidance=guidance,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        set_id=set_id,
    )
    _print_result(result, as_json)


def _print_result(result: "RenderResult", as_json: bool) -> None:
    images, summary, name = result.images, result.images.summary, result.images.run.concept.name
    if as_json:
        facts = {"concept": name, "set": images.fingerprint, "path": str(images.path), "new": result.rendered}
        console.print_json({**facts, **summary})
        return
    console.print(
        f"[bold]{name}[/bold]: {summary['pictures'] - summary['failed']} images by "
        f"{console.escape(images.settings['model'])} ({result.rendered} new), {summary['failed']} failed."
    )
    for reason, count in summary["failures"].items():
        console.print(f"  {count} × {console.escape(reason)}")
    console.print(f"Set {images.fingerprint} in {console.escape(str(images.path))}. Next: [bold]ecgvf filter[/bold]")
