"""``export``: stage 4, the dataset as a folder."""

import shlex
from typing import Annotated

import typer

from ecgvf.commands.options import ConceptOption, JsonOption, NoImagesOption, SetOption, StoreOption
from ecgvf.core import console


def export(
    concept: ConceptOption = None,
    out: Annotated[
        str | None, typer.Option(metavar="PATH", help="A new folder.", show_default="./ecgvf-CONCEPT")
    ] = None,
    no_images: NoImagesOption = False,
    set_id: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the dataset to a folder that `datasets.load_dataset` loads: Parquet, card, Croissant. No network."""
    from ecgvf import Run
    from ecgvf.commands.results import next_command
    from ecgvf.core.files import is_remote
    from ecgvf.pairs.splits import counts_text

    run = Run.load(concept, store)
    name = run.concept.name
    files = run.export(out or f"ecgvf-{name}", images=not no_images, set_id=set_id)
    folder, counts, fingerprint = str(files.folder), files.facts.counts, files.facts.fingerprint
    rejected = console.counted(counts["rejected"], "record")
    console.print_result(
        {"concept": name, "path": folder, "files": files.paths, "fingerprint": fingerprint, "counts": counts},
        f"[bold]{name}[/bold]: {counts_text(counts)} accepted, {rejected} rejected, fingerprint {fingerprint}.",
        f"Wrote {console.escape(folder)}.",
        next_command(f"ear train --dataset {shlex.quote(folder)}")
        if is_remote(run.store.root)
        else next_command("ecgvf push-to-hub", concept=concept, no_images=no_images, set=set_id, store=store),
    )
