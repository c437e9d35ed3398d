"""``export``: stage 4, the dataset as a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecgvf.commands.options import ConceptOption, JsonOption, NoImagesOption, SetOption, StoreOption
from ecgvf.core import console

if TYPE_CHECKING:
    from ecgvf.publish.parquet import DatasetFiles

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
def export(
    concept: ConceptOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="A new folder.", show_default="./ecgvf-CONCEPT")] = None,
    no_images: NoImagesOption = False,
    set_id: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the dataset to a folder that `datasets.load_dataset` loads: Parquet, card, Croissant. No network."""
    from ecgvf import Run

    console.json_mode(as_json)
    run = Run.load(store, concept)
    files = run.export(out or f"ecgvf-{run.concept.name}", images=not no_images, set_id=set_id)
    _print_files(files, as_json)


def _print_files(files: "DatasetFiles", as_json: bool) -> None:
    name, counts, fingerprint = files.run.concept.name, files.facts.counts, files.facts.fingerprint
    if as_json:
        facts = {"concept": name, "path": str(files.folder), "files": files.paths}
        console.print_json({**facts, "fingerprint": fingerprint, "counts": counts})
        return
    console.print(
        f"[bold]{name}[/bold]: {counts['train']} pairs and {counts['test']} test prompts accepted, "
        f"{counts['rejected']} records rejected, fingerprint {fingerprint}."
    )
    console.print(f"Wrote {console.escape(str(files.folder))}. Next: [bold]ecgvf push-to-hub[/bold]")
